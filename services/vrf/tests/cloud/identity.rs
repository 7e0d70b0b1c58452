//! Who is let in, who is not and why, and how keys are kept.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::IntoResponse as _;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use windlass_node::http::ApiError;
use windlass_store::ManualClock;
use windlass_vrf::cloud::{IdentityCheck, IdentityError};

use super::support::{AUDIENCE, Cloud, NOW, ONE, TWO, bearer, claims, clock, config, guarded, sign};

async fn check() -> (Arc<Cloud>, Arc<ManualClock>, IdentityCheck) {
    let (cloud, clock) = (Cloud::start().await, clock());
    let check = IdentityCheck::new(&guarded(&cloud, "", None), clock.clone()).unwrap().unwrap();
    (cloud, clock, check)
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

#[tokio::test]
async fn the_queue_is_let_in_and_others_are_told_why_not() {
    let (_cloud, _clock, check) = check().await;
    let now = NOW.to_seconds().0;
    check.check(&bearer(&sign(&claims(), "one", "one"))).await.unwrap();
    // Google signs under its name with and without the scheme.
    check.check(&bearer(&sign(&with(|c| c["iss"] = json!("accounts.google.com")), "one", "one"))).await.unwrap();
    check.check(&bearer(&sign(&with(|c| c["aud"] = json!(["other", AUDIENCE])), "one", "one"))).await.unwrap();
    check.check(&bearer(&sign(&with(|c| c["exp"] = json!(now - 59)), "one", "one"))).await.unwrap();
    let hmac =
        encode(&Header { kid: Some("one".into()), ..Header::default() }, &claims(), &EncodingKey::from_secret(b"x")).unwrap();
    let refused = [
        (sign(&claims(), "one", "two"), IdentityError::Signature),
        (sign(&claims(), "three", "one"), IdentityError::UnknownKey),
        (sign(&with(|c| c["iss"] = json!("https://evil.example")), "one", "one"), IdentityError::Issuer),
        (sign(&with(|c| c["aud"] = json!("https://other.a.run.app")), "one", "one"), IdentityError::Audience),
        (sign(&with(|c| c["exp"] = json!(now - 60)), "one", "one"), IdentityError::Expired),
        (sign(&with(|c| c["iat"] = json!(now + 61)), "one", "one"), IdentityError::TooEarly),
        (sign(&with(|c| c["nbf"] = json!(now + 61)), "one", "one"), IdentityError::TooEarly),
        (sign(&with(|c| c["email"] = json!("other@my-project.iam.gserviceaccount.com")), "one", "one"), IdentityError::Account),
        (sign(&with(|c| c["email_verified"] = json!(false)), "one", "one"), IdentityError::Account),
        (sign(&with(|c| _ = c.as_object_mut().unwrap().remove("email")), "one", "one"), IdentityError::Account),
        (hmac, IdentityError::Malformed("its signature is of another kind than RS256")),
        ("not.a.token".to_owned(), IdentityError::Malformed("it is no signed token")),
    ];
    for (token, wanted) in refused {
        let error = check.check(&bearer(&token)).await.unwrap_err();
        assert_eq!(error, wanted);
        assert_answer(error, &token).await;
    }
    for missing in ["aud", "iss", "exp"] {
        let token = sign(&with(|c| _ = c.as_object_mut().unwrap().remove(missing)), "one", "one");
        let error = check.check(&bearer(&token)).await.unwrap_err();
        assert!(matches!(error, IdentityError::Malformed(_)), "{missing}: {error}");
    }
    assert_eq!(check.check(&HeaderMap::new()).await, Err(IdentityError::Missing));
    assert_eq!(check.check(&bearer("")).await, Err(IdentityError::Missing));
    let mut basic = HeaderMap::new();
    basic.insert("authorization", "Basic dXNlcjpwdw==".parse().unwrap());
    assert_eq!(check.check(&basic).await, Err(IdentityError::Missing));
}

/// One shape, a word for programs, a hint, and not the token.
async fn assert_answer(error: IdentityError, token: &str) {
    let code = error.code();
    let response = ApiError::from(error).into_response();
    assert_eq!(response.status(), 401);
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], code);
    assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    assert!(!body.to_string().contains(token));
}

#[tokio::test]
async fn without_an_account_any_account_of_the_issuer_is_let_in() {
    let cloud = Cloud::start().await;
    let check = IdentityCheck::new(&config(&cloud, &format!("audience = \"{AUDIENCE}\""), None), clock()).unwrap().unwrap();
    let token = sign(&with(|c| c["email"] = json!("somebody@example.com")), "one", "one");
    check.check(&bearer(&token)).await.unwrap();
    assert!(IdentityCheck::new(&config(&cloud, "", None), clock()).unwrap().is_none());
}

#[tokio::test]
async fn keys_are_kept_as_long_as_their_issuer_says() {
    let (cloud, clock, check) = check().await;
    *cloud.cache_control.lock() = "public, max-age=600, must-revalidate".to_owned();
    let token = bearer(&sign(&with(|c| c["exp"] = json!(NOW.to_seconds().0 + 100_000)), "one", "one"));
    for (minutes, fetched) in [(0, 1), (9, 1), (2, 2), (9, 2)] {
        clock.advance(Duration::from_secs(minutes * 60));
        check.check(&token).await.unwrap();
        assert_eq!(cloud.requests("/certs").len(), fetched);
    }
    // Keys that are too old are used when there are no new ones.
    clock.advance(Duration::from_secs(3_600));
    cloud.script("/certs", &[500]);
    check.check(&token).await.unwrap();
    assert_eq!(cloud.requests("/certs").len(), 3);
}

#[tokio::test]
async fn a_new_key_is_fetched_and_invented_ones_are_not_asked_for_again_and_again() {
    let (cloud, clock, check) = check().await;
    check.check(&bearer(&sign(&claims(), "one", "one"))).await.unwrap();
    *cloud.keys.lock() = vec![ONE, TWO];
    clock.advance(Duration::from_secs(31));
    check.check(&bearer(&sign(&claims(), "two", "two"))).await.unwrap();
    assert_eq!(cloud.requests("/certs").len(), 2);
    for invented in ["a", "b", "c"] {
        let error = check.check(&bearer(&sign(&claims(), invented, "two"))).await.unwrap_err();
        assert_eq!(error, IdentityError::UnknownKey);
    }
    assert_eq!(cloud.requests("/certs").len(), 2);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in() {
    let (cloud, clock, check) = check().await;
    let token = bearer(&sign(&claims(), "one", "one"));
    cloud.script("/certs", &[503]);
    let error = check.check(&token).await.unwrap_err();
    assert!(matches!(error, IdentityError::Keys(_)));
    let response = ApiError::from(error).into_response();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    assert!(matches!(check.check(&token).await, Err(IdentityError::Keys(_))), "asked for a moment ago");
    assert_eq!(cloud.requests("/certs").len(), 1);
    clock.advance(Duration::from_secs(30));
    check.check(&token).await.unwrap();
}
