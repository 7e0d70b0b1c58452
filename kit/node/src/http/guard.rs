//! What every request passes through.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use futures::FutureExt as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::error::{ApiError, RawBody, RequestId, code_of};
use super::limits::{Client, RateLimiter};
use crate::config::{HttpSection, SecretText};
use crate::metrics;
use crate::service::RouteRule;

/// Name of the cookie of a dashboard session.
const COOKIE: &str = "windlass_session";
/// How long a dashboard session lasts.
const SESSION: Duration = Duration::from_secs(12 * 3_600);
/// Dashboard sessions at a time; the oldest goes when there is one more.
const MAX_SESSIONS: usize = 64;
/// What a wrong token costs of the client's budget of requests.
const WRONG_TOKEN_COST: f64 = 10.0;
/// Longest error text of a library that is passed on.
const MAX_LIBRARY_TEXT: usize = 4_096;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who may use the interface, and how much.
pub(crate) struct Access {
    /// Hashes, so that comparing takes the same time whatever the lengths.
    tokens: Vec<[u8; 32]>,
    sessions: Mutex<HashMap<[u8; 32], Instant>>,
    hosts: Option<Vec<String>>,
    rate: RateLimiter,
    at_a_time: Semaphore,
    timeout: Duration,
    max_body: usize,
    rules: Vec<RouteRule>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({} tokens)", self.tokens.len())
    }
}

impl Access {
    /// `tokens` are the resolved ones, `rules` those of the services.
    pub(crate) fn new(section: &HttpSection, tokens: &[SecretText], rules: Vec<RouteRule>) -> Self {
        let tokens: Vec<[u8; 32]> = tokens.iter().map(|token| digest(token.expose().trim())).collect();
        // With tokens a foreign page cannot do anything, whatever name it uses; names are checked then only if some are given.
        let check_hosts = tokens.is_empty() || !section.allowed_hosts.is_empty();
        let hosts = check_hosts.then(|| {
            let mut hosts: Vec<String> = section.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
            hosts.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()]);
            hosts.push(match section.listen.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
            hosts
        });
        Self {
            tokens,
            sessions: Mutex::default(),
            hosts,
            rate: RateLimiter::new(section.requests_per_second, section.request_burst),
            at_a_time: Semaphore::new(section.max_concurrent_requests),
            timeout: section.request_timeout,
            max_body: section.max_body_bytes,
            rules,
        }
    }

    /// What a service said about exactly this method and path.
    fn rule(&self, request: &Request) -> Option<&RouteRule> {
        self.rules.iter().find(|rule| rule.method == *request.method() && rule.path == request.uri().path())
    }

    /// Whether a token is needed at all.
    pub(crate) fn needs_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Opens a dashboard session for the holder of a token. The text is the value of the header `Set-Cookie`.
    pub(crate) fn open_session(&self, token: &str) -> Option<String> {
        self.token_place(token)?;
        let id: [u8; 32] = rand::random();
        let id = hex::encode(id);
        let mut sessions = self.sessions.lock();
        let now = Instant::now();
        sessions.retain(|_, end| *end > now);
        if sessions.len() >= MAX_SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, end)| **end).map(|(id, _)| *id)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(digest(&id), now + SESSION);
        Some(format!("{COOKIE}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}", SESSION.as_secs()))
    }

    /// The place of a token in the list. Looks at all, so that time tells nothing.
    fn token_place(&self, token: &str) -> Option<usize> {
        let offered = digest(token);
        let mut found = None;
        for (index, known) in self.tokens.iter().enumerate() {
            if bool::from(offered.ct_eq(known)) {
                found = Some(index);
            }
        }
        found
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let Some((_, id)) = pairs.find(|(name, _)| *name == COOKIE) else { return false };
        // The key of the map is a hash of 256 random bits: to guess it by timing is to guess a preimage.
        self.sessions.lock().get(&digest(id)).is_some_and(|end| *end > Instant::now())
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let (Some(hosts), Some(host)) = (&self.hosts, headers.get(header::HOST)) else { return Ok(()) };
        let host = host.to_str().unwrap_or_default().to_ascii_lowercase();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &host,
        };
        if hosts.iter().any(|known| known == name) {
            return Ok(());
        }
        let error = ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", "this node may not be called by that name");
        Err(error.hint("call it as localhost or by its address, or add the name to http.allowed_hosts"))
    }

    /// Who asks, and whether the token it has, if any, is good.
    fn identify(&self, request: &Request) -> (Client, Result<(), ApiError>) {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let by_address = peer.map_or(Client::Others, Client::Address);
        if !self.needs_token() {
            return (by_address, Ok(()));
        }
        let missing = || {
            let error = ApiError::new(StatusCode::UNAUTHORIZED, "token_required", "this needs a token");
            error.hint("send the header Authorization: Bearer <token>, with a token of http.tokens")
        };
        match bearer(request.headers()) {
            Some(token) => match self.token_place(token) {
                Some(place) => (Client::Token(place), Ok(())),
                None => {
                    let wrong = ApiError::new(StatusCode::UNAUTHORIZED, "token_unknown", "this token is not known");
                    (by_address, Err(wrong.hint("use a token of http.tokens")))
                }
            },
            // A session may look but not change anything.
            None if request.method().is_safe() && self.has_session(request.headers()) => (by_address, Ok(())),
            None => (by_address, Err(missing())),
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Wraps all routes.
pub(crate) fn apply(router: Router, access: Arc<Access>) -> Router {
    router
        .layer(DefaultBodyLimit::max(access.max_body))
        .layer(middleware::from_fn_with_state(access, guard))
        .layer(middleware::from_fn(finish))
}

/// Lets a request in or not, and limits what it may take.
async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // Whoever checks health is no client to be counted, and must be heard when everything else is too much.
    let health = path == "/health" || path.starts_with("/health/");
    let rule = access.rule(&request);
    let own = rule.is_some_and(|rule| rule.own_access);
    let limit = rule.and_then(|rule| rule.timeout).unwrap_or(access.timeout);
    let open = own || health || path == "/login" || path.starts_with("/assets/");
    let refuse = |reason: &'static str, error: ApiError| {
        metrics::http_rejected(reason);
        error.into_response()
    };
    if let Err(error) = access.check_host(request.headers()) {
        return refuse("host", error);
    }
    if let Err(error) = check_origin(&request) {
        return refuse("origin", error);
    }
    let Ok(_permit) = access.at_a_time.try_acquire() else {
        if !health {
            let error = ApiError::unavailable("overloaded", "too many requests at the same time").retry_after(1);
            return refuse("concurrency", error);
        }
        return next.run(request).await;
    };
    let (client, identity) = access.identify(&request);
    if !health {
        // A token that the service judges is no wrong one here.
        let wrong = !own && identity.is_err() && bearer(request.headers()).is_some();
        let cost = if wrong { WRONG_TOKEN_COST } else { 1.0 };
        if let Err(wait) = access.rate.take(client, cost, Instant::now()) {
            let seconds = wait.as_secs().saturating_add(1);
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests from this client");
            return refuse("rate", error.retry_after(seconds).hint(format!("wait {seconds} s")));
        }
    }
    if let Err(error) = identity
        && !open
    {
        // A person who opens the dashboard is asked for the token; a program is told.
        if path == "/" && accepts_html(request.headers()) {
            return Redirect::to("/login").into_response();
        }
        return refuse("token", error);
    }
    let answer = std::panic::AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::internal().into_response(),
        Err(_) => {
            let error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the request took too long");
            refuse("timeout", error.hint("it may have been carried out: repeat it with the same Idempotency-Key"))
        }
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains("text/html"))
}

/// Refuses changes that a page of another web site asks a browser for.
fn check_origin(request: &Request) -> Result<(), ApiError> {
    if request.method().is_safe() {
        return Ok(());
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let foreign_site = header("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let foreign_origin = header("origin").is_some_and(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_none() || host != header("host")
    });
    if foreign_site || foreign_origin {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "cross_origin", "changes may not be asked for by other web sites"));
    }
    Ok(())
}

/// Gives the request its id and the answer its common headers and shape; notes both.
async fn finish(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    // The pattern, not the path: its number is bounded, and it holds nobody's data. Not known yet for nested routes.
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |m| m.as_str().to_owned());
    let span = tracing::debug_span!("request", request_id = %id, %method, path);
    let response = next.run(request).instrument(span).await;
    let mut response = shape(response, &id).await;
    let status = response.status();
    let seconds = started.elapsed().as_secs_f64();
    metrics::http_request(method_name(&method), &route, status.as_u16(), seconds);
    // A health check that says no has worked: the node tells of it once, not at every question.
    if status.is_server_error() && !path.starts_with("/health/") {
        tracing::warn!(request_id = %id, %method, path, status = status.as_u16(), "request failed");
    } else {
        tracing::debug!(request_id = %id, %method, path, status = status.as_u16(), seconds, "request");
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Methods as a label: anybody can invent some.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = given
        .filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    match usable {
        Some(id) => id.to_owned(),
        None => hex::encode(rand::random::<[u8; 12]>()),
    }
}

/// Brings errors into their shape: ours with the id filled in, those of libraries (bare text) as a whole.
async fn shape(response: Response, id: &str) -> Response {
    if let Some(error) = response.extensions().get::<ApiError>() {
        return error.respond(id);
    }
    let status = response.status();
    let of_library = matches!(status.as_u16(), 400 | 404 | 405 | 408 | 411 | 413 | 414 | 415 | 422 | 500);
    let kept = response.extensions().get::<RawBody>().is_some();
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !of_library || kept || content_type.contains("json") || content_type.contains("html") {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let text = axum::body::to_bytes(response.into_body(), MAX_LIBRARY_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let message = match (status.as_u16(), text.is_empty()) {
        // What failed inside is not for the outside.
        (500, _) => return ApiError::internal().respond(id),
        (404, true) => "there is nothing at this path".to_owned(),
        (405, true) => "this path does not take this method".to_owned(),
        (_, true) => status.canonical_reason().unwrap_or("error").to_lowercase(),
        (_, false) => text,
    };
    let mut shaped = ApiError::new(status, code_of(status), message).respond(id);
    if let Some(allow) = allow {
        shaped.headers_mut().insert(header::ALLOW, allow);
    }
    shaped
}
