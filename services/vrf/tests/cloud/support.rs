//! Servers that do as the Google cloud does, configurations, and tokens signed by keys that are for these tests only.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use windlass_node::Backoff;
use windlass_node::config::{Schema, Sources};
use windlass_store::{ManualClock, Migration, Migrations, Store, StoreOptions, UnixMillis};
use windlass_vrf::cloud::MIGRATION;
use windlass_vrf::config::{TriggerConfig, VrfConfig};

pub(crate) const NOW: UnixMillis = UnixMillis(1_655_972_425_000);
pub(crate) const AUDIENCE: &str = "https://vrf.a.run.app";
pub(crate) const EMAIL: &str = "vrf@my-project.iam.gserviceaccount.com";

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// All of the cloud on one port.
#[derive(Default)]
pub(crate) struct Cloud {
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Answers to the next requests for a path that begins so; the usual ones when there is none.
    pub(crate) scripted: Mutex<VecDeque<(&'static str, u16)>>,
    /// Names of the keys that the issuer has, with their moduli.
    pub(crate) keys: Mutex<Vec<(&'static str, &'static str)>>,
    pub(crate) cache_control: Mutex<String>,
    tokens: AtomicU32,
    pub(crate) base: Mutex<String>,
}

pub(crate) const ONE: (&str, &str) = ("one", include_str!("one.n"));
pub(crate) const TWO: (&str, &str) = ("two", include_str!("two.n"));

impl Cloud {
    pub(crate) async fn start() -> Arc<Self> {
        let cloud = Arc::new(Self::default());
        *cloud.keys.lock() = vec![ONE];
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        *cloud.base.lock() = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&cloud));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        cloud
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.lock())
    }

    pub(crate) fn script(&self, path: &'static str, statuses: &[u16]) {
        self.scripted.lock().extend(statuses.iter().map(|status| (path, *status)));
    }

    /// The requests whose path begins so.
    pub(crate) fn requests(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().iter().filter(|seen| seen.path.starts_with(path)).cloned().collect()
    }

    /// The tasks that were asked for with success.
    pub(crate) fn tasks(&self) -> Vec<Value> {
        self.requests("/v2/").iter().map(Seen::json).collect()
    }
}

async fn answer(
    State(cloud): State<Arc<Cloud>>,
    method: axum::http::Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let body = String::from_utf8(body.to_vec()).unwrap();
    cloud.seen.lock().push(Seen { method: method.to_string(), path: path.clone(), headers: headers.clone(), body });
    let scripted = {
        let mut scripted = cloud.scripted.lock();
        let place = scripted.iter().position(|(begin, _)| path.starts_with(begin));
        place.and_then(|place| scripted.remove(place)).map(|(_, status)| status)
    };
    if let Some(status) = scripted {
        let error = json!({"error": {"code": status, "message": "scripted", "status": "X"}});
        return (StatusCode::from_u16(status).unwrap(), Json(error)).into_response();
    }
    match path.as_str() {
        "/certs" => {
            let keys: Vec<Value> = cloud
                .keys
                .lock()
                .iter()
                .map(|(kid, n)| json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB", "alg": "RS256", "use": "sig"}))
                .chain([json!({"kty": "EC", "kid": "of another kind", "crv": "P-256"})])
                .collect();
            let control = cloud.cache_control.lock().clone();
            ([("cache-control", control)], Json(json!({"keys": keys}))).into_response()
        }
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            if headers.get("Metadata-Flavor").is_none_or(|value| value != "Google") {
                return StatusCode::FORBIDDEN.into_response();
            }
            token(&cloud)
        }
        "/token" => token(&cloud),
        "/webhook" => StatusCode::NO_CONTENT.into_response(),
        path if path.starts_with("/v2/") => {
            let number = cloud.requests("/v2/").len();
            Json(json!({"name": format!("{}/{number}", path.trim_start_matches("/v2/")), "scheduleTime": "x"})).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn token(cloud: &Cloud) -> Response {
    let number = cloud.tokens.fetch_add(1, Ordering::SeqCst) + 1;
    Json(json!({"access_token": format!("ya29.hunter2-{number}"), "expires_in": 3599, "token_type": "Bearer"})).into_response()
}

/// A trigger configuration read from text, as an operator would write it. `more` goes into the table, `queue` into that of the queue.
pub(crate) fn config(cloud: &Cloud, more: &str, queue: Option<&str>) -> TriggerConfig {
    let queue = queue.map_or_else(String::new, |queue| {
        format!(
            "[vrf.a.trigger.queue]\nproject = \"my-project\"\nlocation = \"us-central1\"\nqueue = \"vrf\"\nurl = \"{AUDIENCE}\"\n\
             api_url = \"{base}\"\nmetadata_url = \"{base}\"\n{queue}\n",
            base = cloud.base.lock()
        )
    });
    let text = format!(
        "[chain.a]\nurls = [\"https://rpc.example\"]\n[vrf.a]\nchain = \"a\"\nprovider = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\n\
         [vrf.a.account]\nprivate_key = \"env:K\"\n[vrf.a.band]\ngrpc = [\"x:443\"]\nmnemonic = \"env:M\"\n\
         [vrf.a.trigger]\nname = \"ASTAR\"\njwks_url = \"{}\"\n{more}\n{queue}",
        cloud.url("/certs")
    );
    let loaded =
        Schema::new().section::<VrfConfig>().load(&Sources::text("t", &text)).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.instance::<VrfConfig>("a").unwrap().trigger.clone().unwrap()
}

/// With audience and account, as a queue needs them.
pub(crate) fn guarded(cloud: &Cloud, more: &str, queue: Option<&str>) -> TriggerConfig {
    config(cloud, &format!("audience = \"{AUDIENCE}\"\nservice_account = \"{EMAIL}\"\n{more}"), queue)
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW))
}

pub(crate) async fn store(clock: Arc<ManualClock>) -> Store {
    const TABLES: Migrations = Migrations {
        component: "test",
        steps: &[Migration { number: 1, name: "before", sql: "CREATE TABLE test_before (id BIGINT);" }, MIGRATION],
    };
    let store = Store::open_with("sqlite::memory:", StoreOptions { clock, ..StoreOptions::default() }).await.unwrap();
    store.migrate(&TABLES).await.unwrap();
    store
}

/// Pauses that do not slow tests down.
pub(crate) fn no_pauses() -> Backoff {
    Backoff { initial: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() }
}

/// Claims that are let in.
pub(crate) fn claims() -> Value {
    let now = NOW.to_seconds().0;
    json!({"iss": "https://accounts.google.com", "aud": AUDIENCE, "sub": "1", "email": EMAIL, "email_verified": true, "iat": now, "exp": now + 3_600})
}

pub(crate) fn key_pem(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud").join(format!("{name}.pem"));
    std::fs::read_to_string(path).unwrap()
}

/// A token signed by the key `signer` that says it is signed by `kid`.
pub(crate) fn sign(claims: &Value, kid: &str, signer: &str) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
    encode(&header, claims, &EncodingKey::from_rsa_pem(key_pem(signer).as_bytes()).unwrap()).unwrap()
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers
}
