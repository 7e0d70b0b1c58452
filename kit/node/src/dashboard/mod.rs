//! The dashboard: one page, made on the server, kept up to date by server-sent events.
//!
//! It works without JavaScript (then it reloads itself). Style and script are files of their own, so that the content security policy
//! can forbid everything inline. Everything that services say is escaped by the templates.

mod page;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Form, Router};
use futures::stream;
use maud::Markup;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::http::{Access, ApiError};

/// How often the page may change.
const BEAT: Duration = Duration::from_secs(1);
/// Pages that are kept up to date at a time.
const MAX_LIVE: usize = 64;
/// Nothing but our own files, and nobody may frame the page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const ICON: &str = include_str!("icon.svg");

#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    access: Arc<Access>,
    live: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// The page, its stream, its files, and the question for a token.
pub(crate) fn router(board: Arc<Board>, access: Arc<Access>, shutdown: CancellationToken) -> Router {
    let shared = Shared { board, access, live: Arc::new(Semaphore::new(MAX_LIVE)), shutdown };
    Router::new()
        .route("/", get(dashboard))
        .route("/live", get(live))
        .route("/login", get(ask_token).post(login))
        .route("/assets/dashboard.css", get(|| async { asset(STYLE, "text/css; charset=utf-8") }))
        .route("/assets/dashboard.js", get(|| async { asset(SCRIPT, "text/javascript; charset=utf-8") }))
        .route("/assets/icon.svg", get(|| async { asset(ICON, "image/svg+xml") }))
        .with_state(shared)
}

fn asset(text: &'static str, content_type: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

fn html(status: StatusCode, markup: Markup) -> Response {
    let mut response = (status, Html(markup.into_string())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    response
}

async fn dashboard(State(shared): State<Shared>) -> Response {
    html(StatusCode::OK, page::page(&*shared.board.snapshot().await))
}

/// The content of the page whenever it has changed. Ends with the node.
async fn live(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let Ok(permit) = shared.live.clone().try_acquire_owned() else {
        return Err(ApiError::unavailable("too_many_pages", "too many pages are kept up to date already").retry_after(10));
    };
    let watcher = Watcher { shared, shown: String::new(), _permit: permit };
    let changes = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<Event, Infallible>(event), watcher))
    });
    Ok(Sse::new(changes).keep_alive(KeepAlive::default()).into_response())
}

/// One page that is kept up to date.
struct Watcher {
    shared: Shared,
    shown: String,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if !self.shown.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(BEAT) => {}
                    () = self.shared.shutdown.cancelled() => return None,
                }
            }
            let content = page::content(&*self.shared.board.snapshot().await).into_string();
            if content != self.shown {
                self.shown.clone_from(&content);
                return Some(Event::default().event("content").data(content));
            }
        }
    }
}

async fn ask_token() -> Response {
    html(StatusCode::OK, page::login(None))
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn login(State(shared): State<Shared>, Form(login): Form<Login>) -> Response {
    match shared.access.open_session(login.token.trim()) {
        Some(cookie) => {
            let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(header::SET_COOKIE, value);
            }
            response
        }
        None => html(StatusCode::UNAUTHORIZED, page::login(Some("This token is not known."))),
    }
}
