//! `retry` and `give-up`: asked of the running node, whose machine alone may change a task.

use serde_json::{Value, json};
use windlass_node::client::{ClientError, NodeClient};
use windlass_node::config::SecretText;

use super::commands::{NodeArgs, RelayArgs};
use super::failure::Failure;
use super::output::Output;
use super::run::Handles;
use crate::error::VrfError;

/// Which relay at which node.
type Whom<'a> = (&'a RelayArgs, &'a NodeArgs);

pub(super) async fn retry(
    handles: &dyn Handles,
    whom: Whom<'_>,
    nonce: u64,
    request_again: bool,
    output: &mut Output<'_>,
) -> Result<u8, Failure> {
    let answer = post(handles, whom, &format!("tasks/{nonce}/retry"), &json!({ "request_again": request_again })).await?;
    output.result(&answer, |_| {
        format!("accepted: task {nonce} is tried again; `windlass vrf inspect {nonce}` shows what comes of it")
    });
    Ok(0)
}

pub(super) async fn give_up(
    handles: &dyn Handles,
    whom: Whom<'_>,
    nonce: u64,
    reason: &str,
    output: &mut Output<'_>,
) -> Result<u8, Failure> {
    let answer = post(handles, whom, &format!("tasks/{nonce}/give-up"), &json!({ "reason": reason })).await?;
    output.result(&answer, |_| format!("accepted: task {nonce} is given up; `windlass vrf retry {nonce}` takes it up again"));
    Ok(0)
}

async fn post(handles: &dyn Handles, (relay, node): Whom<'_>, route: &str, body: &Value) -> Result<Value, Failure> {
    let client = client(handles, node).await?;
    // With both given the configuration is not needed: the node may be another machine's.
    let name = match (&relay.relay, &node.url) {
        (Some(name), Some(_)) if is_name(name) => name.clone(),
        _ => handles.section(relay.relay.as_deref()).await?.0,
    };
    match client.post(&format!("v1/vrf/{name}/{route}"), body).await {
        Ok(answer) => Ok(answer),
        // The node's own routes answer 404 in its own shape, with a hint; a service that it does not have has none.
        Err(ClientError::Refused { status: 404, hint: None, .. }) => Err(Failure::Nothing {
            text: format!("the node at {} runs no relay {name}", client.at()),
            hint: "compare --relay and --url with the configuration of the node",
        }),
        Err(error) => Err(error.into()),
    }
}

/// What an instance may be called: the name becomes part of a path.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

async fn client(handles: &dyn Handles, node: &NodeArgs) -> Result<NodeClient, Failure> {
    let token = node.token.as_ref().map(|token| token.resolve().map(|token| SecretText::new(token.expose().clone())));
    let token = token.transpose().map_err(|error| Failure::from(VrfError::from(error)))?;
    match (&node.url, token) {
        (Some(url), _) if !matches!(url.scheme(), "http" | "https") => {
            Err(Failure::usage(format!("--url must begin with http:// or https://, not {}://", url.scheme())))
        }
        (Some(url), token) => Ok(NodeClient::new(url.clone(), token)?),
        (None, None) => handles.node().await,
        (None, Some(token)) => Ok(handles.node().await?.with_token(token)),
    }
}
