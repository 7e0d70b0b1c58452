//! Descriptions of the routes for `/openapi.json`.

use serde_json::{Value, json};
use windlass_node::openapi::Operation;

use super::{DAYS, MAX_PAGE, MAX_REASON, PAGE};
use crate::economics::MAX_DAYS;
use crate::machine::State;

/// All of them.
pub(crate) fn operations() -> Vec<Operation> {
    let object = || json!({ "type": "object" });
    let states: Vec<&str> = ["all", "unfinished", "held"].into_iter().chain(State::ALL.map(State::name)).collect();
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE });
    vec![
        Operation::get(
            "/",
            "Where the relay stands: tasks per state, what is held and why, heads, balances, validator drift, latencies",
        )
        .answer(200, "The relay.", relay()),
        Operation::get("/tasks", "Tasks, the highest number first, in pages.")
            .query("state", "Only those.", json!({ "type": "string", "enum": states, "default": "all" }))
            .query("limit", "At most so many.", limit)
            .query("before", "next_page_token of the page before.", json!({ "type": "string" }))
            .answer(
                200,
                "A page.",
                json!({ "type": "object", "required": ["tasks"], "properties": {
                    "tasks": { "type": "array", "items": task() }, "next_page_token": { "type": "string" } } }),
            ),
        Operation::get(
            "/tasks/{nonce}",
            "Everything that is stored about one number: why, history, Band transactions, requests, relays.",
        )
        .answer(200, "The trace.", trace()),
        Operation::post(
            "/tasks/{nonce}/retry",
            "Goes on with a held task at once, takes a given-up one up again, or reads one that is not stored.",
        )
        .body(json!({ "type": "object", "additionalProperties": false, "properties": { "request_again": { "type": "boolean",
                "default": false, "description": "One more BandChain request may be paid for it." } } }))
        .answer(202, "Accepted; the agent does it.", object()),
        Operation::post("/tasks/{nonce}/give-up", "Gives a task up: nothing more is paid for it until it is retried.")
            .body(json!({ "type": "object", "additionalProperties": false, "required": ["reason"], "properties": { "reason": {
                "type": "string", "minLength": 1, "maxLength": MAX_REASON, "description": "Why, for the history." } } }))
            .answer(202, "Accepted; the agent does it.", object()),
        Operation::post("/recheck", "Looks at provider, Bridge, BandChain and every waiting task now.").answer(
            202,
            "Accepted.",
            object(),
        ),
        Operation::get("/drift", "The Bridge's validators beside those that sign on BandChain now.").answer(
            200,
            "The comparison.",
            object(),
        ),
        Operation::get("/statistics", "Earned, spent and gained per day (UTC), and how long the balances last.")
            .query(
                "days",
                "How many days, today among them.",
                json!({ "type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": DAYS }),
            )
            .answer(200, "The sums; amounts are decimal texts.", statistics()),
    ]
}

fn amount() -> Value {
    json!({ "type": "string", "description": "Decimal text." })
}

fn nullable(schema: &str) -> Value {
    json!({ "type": [schema, "null"] })
}

fn relay() -> Value {
    json!({ "type": "object", "required": ["name", "provider", "acting", "states", "holds"], "properties": {
        "name": { "type": "string" }, "provider": { "type": "string" }, "chain": { "type": "string" },
        "acting": { "type": "boolean", "description": "Whether the relay runs in this process." },
        "dry_run": { "type": "boolean" },
        "states": { "type": "object", "additionalProperties": { "type": "integer" } },
        "holds": { "type": "object", "additionalProperties": { "type": "object", "properties": {
            "tasks": { "type": "integer" }, "example": nullable("string") } } },
        "balances": { "type": "object" }, "drift": nullable("object"), "latency": nullable("object"),
        "follow_error": nullable("string"), "picture": nullable("object") } })
}

fn task() -> Value {
    json!({ "type": "object", "required": ["nonce", "seed", "state", "why"], "properties": {
        "nonce": { "type": "integer" }, "seed": { "type": "string" }, "state": { "type": "string" }, "hold": nullable("string"),
        "why": { "type": "string", "description": "Never empty." }, "caller": { "type": "string" }, "task_fee": amount(),
        "client_seed": { "type": "string" }, "time": { "type": "integer" }, "request_id": nullable("integer"),
        "request_height": nullable("integer"), "resolved_height": nullable("integer"), "band_sequence": nullable("integer"),
        "requests_paid": { "type": "integer" }, "relays": { "type": "integer" }, "age_seconds": { "type": "integer" },
        "quiet_seconds": { "type": "integer" }, "seen_at_ms": { "type": "integer" }, "updated_at_ms": { "type": "integer" },
        "retry_at_ms": nullable("integer"), "last_error": nullable("string") } })
}

fn trace() -> Value {
    let list = || json!({ "type": "array", "items": { "type": "object" } });
    json!({ "type": "object", "required": ["nonce", "state", "why", "tasks", "history"], "properties": {
        "nonce": { "type": "integer" }, "state": { "type": "string" }, "why": { "type": "string" },
        "tasks": { "type": "array", "items": task() }, "band_transactions": list(), "requests": list(), "relays": list(),
        "history": list() } })
}

fn statistics() -> Value {
    let day = json!({ "type": "object", "properties": {
        "date": { "type": "string" }, "tasks": { "type": "integer" }, "earned": amount(), "relays": { "type": "integer" },
        "relays_failed": { "type": "integer" }, "gas_paid": amount(), "band_transactions": { "type": "integer" },
        "band_failed": { "type": "integer" }, "band_requests": { "type": "integer" }, "band_fees": amount(), "profit": amount() } });
    json!({ "type": "object", "required": ["days", "total", "by_day", "forecast"], "properties": {
        "days": { "type": "integer" }, "band_denom": { "type": "string" }, "total": day,
        "by_day": { "type": "array", "items": day }, "forecast": { "type": "object" } } })
}
