//! A signer in another process: the HTTP interface of Web3Signer's execution-layer mode.
//!
//! | Request | Answer |
//! | --- | --- |
//! | `GET /upcheck` | 200 when it is up |
//! | `GET /api/v1/eth1/publicKeys` | JSON list of uncompressed public keys, `0x` and 128 digits |
//! | `POST /api/v1/eth1/sign/{public key}` with `{"data": "0x…"}` | text: `0x`, then r, s (32 bytes each) and v (27 or 28) over `keccak256(data)` |

use std::time::Duration;

use alloy_primitives::{Address, Signature, keccak256};
use async_trait::async_trait;
use serde_json::json;
use url::Url;

use crate::{KeyError, Signer};

/// Longest answer that is read: a list of some thousand keys.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A remote signer for one account. Each signature is checked to be by that account before it is used.
#[derive(Clone, Debug)]
pub struct Web3Signer {
    client: reqwest::Client,
    sign_url: Url,
    host: String,
    address: Address,
}

impl Web3Signer {
    /// Connects to the signer at `base` (`http://127.0.0.1:9000`) and looks up the key of `address` there.
    pub async fn connect(base: &Url, address: Address, timeout: Duration) -> Result<Self, KeyError> {
        let host = host_of(base);
        // A second installation of the provider is refused by the library and means that one is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| remote(&host, error.without_url().to_string(), false))?;
        let keys_url = join(base, "api/v1/eth1/publicKeys", &host)?;
        let text = read_answer(&host, client.get(keys_url)).await?;
        let keys: Vec<String> = serde_json::from_str(&text)
            .map_err(|error| remote(&host, format!("its list of keys is malformed: {error}"), false))?;
        let identifier = keys
            .into_iter()
            .find(|key| address_of(key) == Some(address))
            .ok_or_else(|| KeyError::UnknownKey { host: host.clone(), address })?;
        let sign_url = join(base, &format!("api/v1/eth1/sign/{identifier}"), &host)?;
        Ok(Self { client, sign_url, host, address })
    }
}

#[async_trait]
impl Signer for Web3Signer {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign_preimage(&self, preimage: &[u8]) -> Result<Signature, KeyError> {
        let body = json!({ "data": alloy_primitives::hex::encode_prefixed(preimage) });
        let text = read_answer(&self.host, self.client.post(self.sign_url.clone()).json(&body)).await?;
        let malformed = || remote(&self.host, "its signature is not 65 bytes of hexadecimal text".to_owned(), false);
        let bytes = alloy_primitives::hex::decode(text.trim().trim_matches('"')).map_err(|_| malformed())?;
        let signature = Signature::from_raw(&bytes).map_err(|_| malformed())?;
        // EIP-2: chains refuse the upper half; normalising flips the parity with it.
        let signature = signature.normalize_s().unwrap_or(signature);
        let recovered = crate::recover(&keccak256(preimage), &signature).ok_or_else(malformed)?;
        if recovered != self.address {
            return Err(KeyError::WrongSigner { expected: self.address, recovered });
        }
        Ok(signature)
    }
}

async fn read_answer(host: &str, request: reqwest::RequestBuilder) -> Result<String, KeyError> {
    // Whatever fails below the HTTP status is the network's doing and may pass.
    let lost = |error: reqwest::Error| remote(host, error.without_url().to_string(), true);
    let mut answer = request.send().await.map_err(lost)?;
    let status = answer.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if bytes.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
            return Err(remote(host, "its answer is longer than 1 MiB".to_owned(), false));
        }
        bytes.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        let transient = status.is_server_error() || status.as_u16() == 429;
        return Err(remote(host, format!("it answered HTTP {}", status.as_u16()), transient));
    }
    String::from_utf8(bytes).map_err(|_| remote(host, "its answer is not text".to_owned(), false))
}

fn address_of(public_key: &str) -> Option<Address> {
    let bytes = alloy_primitives::hex::decode(public_key).ok()?;
    let point = match bytes.len() {
        64 => bytes.as_slice(),
        65 => bytes.strip_prefix(&[4])?,
        _ => return None,
    };
    Some(Address::from_raw_public_key(point))
}

fn join(base: &Url, path: &str, host: &str) -> Result<Url, KeyError> {
    let mut url = base.clone();
    let full = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&full);
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(remote(host, format!("its URL has the scheme `{}`, not http or https", base.scheme()), false))
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("(no host)");
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn remote(host: &str, reason: String, transient: bool) -> KeyError {
    KeyError::RemoteSigner { host: host.to_owned(), reason, transient }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use axum::Router;
    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::routing::{get, post};

    use super::*;
    use crate::LocalSigner;

    /// How the stand-in answers a request to sign.
    #[derive(Clone, Copy)]
    enum Behaviour {
        Honest,
        HighS,
        OtherKey,
        Garbage,
        Busy,
    }

    async fn serve(signer: LocalSigner, behaviour: Behaviour) -> Url {
        let public = {
            let key = k256::ecdsa::SigningKey::from_slice(signer.to_bytes().as_slice()).unwrap();
            alloy_primitives::hex::encode_prefixed(&key.verifying_key().to_encoded_point(false).as_bytes()[1..])
        };
        let keys = axum::Json(vec!["0x12".to_owned(), public.clone()]);
        let sign = move |Path(identifier): Path<String>, axum::Json(body): axum::Json<serde_json::Value>| async move {
            assert_eq!(identifier, public);
            let data = alloy_primitives::hex::decode(body["data"].as_str().unwrap()).unwrap();
            let hash = keccak256(data);
            let signature = signer.sign_hash(&hash).unwrap();
            match behaviour {
                Behaviour::Honest => (StatusCode::OK, alloy_primitives::hex::encode_prefixed(signature.as_bytes())),
                Behaviour::HighS => {
                    let order: alloy_primitives::U256 =
                        "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
                    let high = Signature::new(signature.r(), order - signature.s(), !signature.v());
                    (StatusCode::OK, alloy_primitives::hex::encode_prefixed(high.as_bytes()))
                }
                Behaviour::OtherKey => {
                    let other = LocalSigner::random().sign_hash(&hash).unwrap();
                    (StatusCode::OK, alloy_primitives::hex::encode_prefixed(other.as_bytes()))
                }
                Behaviour::Garbage => (StatusCode::OK, "0x1234".to_owned()),
                Behaviour::Busy => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            }
        };
        let router = Router::new()
            .route("/prefix/api/v1/eth1/publicKeys", get(|| async { keys }))
            .route("/prefix/api/v1/eth1/sign/{identifier}", post(sign));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:hunter2@{}/prefix/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().unwrap()
    }

    async fn sign_with(behaviour: Behaviour) -> Result<(), KeyError> {
        let local = LocalSigner::random();
        let url = serve(local.clone(), behaviour).await;
        let remote = Web3Signer::connect(&url, local.address(), Duration::from_secs(5)).await?;
        let signature = remote.sign_preimage(b"payload").await?;
        assert_eq!(signature, local.sign_preimage(b"payload").await?);
        Ok(())
    }

    #[tokio::test]
    async fn signs_as_the_local_key_would_and_normalises_s() {
        sign_with(Behaviour::Honest).await.unwrap();
        sign_with(Behaviour::HighS).await.unwrap();
    }

    #[tokio::test]
    async fn answers_that_are_not_our_signature_are_refused() {
        let error = sign_with(Behaviour::OtherKey).await.unwrap_err();
        assert!(matches!(error, KeyError::WrongSigner { .. }) && !error.is_transient());
        let error = sign_with(Behaviour::Garbage).await.unwrap_err();
        assert!(error.to_string().contains("not 65 bytes"), "{error}");
        let error = sign_with(Behaviour::Busy).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("HTTP 503"), "{error}");
    }

    #[tokio::test]
    async fn unknown_keys_and_dead_signers_are_named_without_credentials() {
        let url = serve(LocalSigner::random(), Behaviour::Honest).await;
        let error = Web3Signer::connect(&url, Address::ZERO, Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, KeyError::UnknownKey { .. }), "{error}");
        let dead: Url = "http://user:hunter2@127.0.0.1:1".parse().unwrap();
        let error = Web3Signer::connect(&dead, Address::ZERO, Duration::from_secs(5)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("127.0.0.1:1") && !format!("{error:?}").contains("hunter2"));
    }
}
