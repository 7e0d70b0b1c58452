//! Reads proofs and validators from files.

use std::io::Read as _;
use std::path::Path;

use alloy_primitives::{Address, Bytes, U256, hex};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::failure::Failure;

/// Largest file that is read. A proof of a hundred validators has some 40,000 bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

fn file_error(path: &Path, reason: impl std::fmt::Display) -> Failure {
    Failure::File { path: path.to_owned(), reason: reason.to_string() }
}

/// A file, or standard input for `-`.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let limit = MAX_BYTES.saturating_add(1);
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut content)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content))
    };
    read.map_err(|error| file_error(path, error))?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(file_error(path, format_args!("it is larger than {MAX_BYTES} bytes")));
    }
    Ok(content)
}

/// A proof as raw bytes, as hexadecimal digits, or inside the JSON answer of the proof route.
pub(super) fn read_proof(path: &Path) -> Result<Bytes, Failure> {
    let content = read(path)?;
    if content.is_empty() {
        return Err(file_error(path, "it is empty"));
    }
    match std::str::from_utf8(&content) {
        // Raw proofs begin with zeros, so no proof is mistaken for a text.
        Ok(text) if !text.contains('\0') => proof_of_text(text).map_err(|reason| file_error(path, reason)),
        _ => Ok(content.into()),
    }
}

fn proof_of_text(text: &str) -> Result<Bytes, &'static str> {
    let text = text.trim();
    if text.starts_with(['{', '"']) {
        let value: Value = serde_json::from_str(text).map_err(|_| "it begins like JSON but is none")?;
        let found = ["/result/evm_proof_bytes", "/evm_proof_bytes", "/evm_proof_bytes_hex", ""]
            .into_iter()
            .find_map(|place| value.pointer(place).and_then(Value::as_str));
        let digits = found.ok_or("the JSON document has no evm_proof_bytes")?;
        // Some gateways write bytes as base64.
        let found =
            digits_of(digits).or_else(|| STANDARD.decode(digits.trim()).ok().filter(|bytes| !bytes.is_empty()).map(Bytes::from));
        return found.ok_or("its evm_proof_bytes are neither hexadecimal digits nor base64");
    }
    digits_of(text).ok_or("it is neither hexadecimal digits nor a JSON answer of the proof route")
}

/// Hexadecimal digits, in lines if they are broken into some.
fn digits_of(text: &str) -> Option<Bytes> {
    let text: String = text.split_whitespace().collect();
    let found = hex::decode(&text).ok()?;
    (!found.is_empty()).then(|| found.into())
}

#[derive(Deserialize)]
struct Listed {
    #[serde(alias = "addr")]
    address: Address,
    power: Value,
}

/// Validators of the Bridge: a JSON list of addresses and powers. Powers are numbers or decimal texts.
pub(in crate::cli) fn read_validators(path: &Path) -> Result<Vec<(Address, U256)>, Failure> {
    let content = read(path)?;
    let list: Vec<Listed> = serde_json::from_slice(&content)
        .map_err(|error| file_error(path, format_args!("it is no list of {{\"address\", \"power\"}}: {error}")))?;
    list.into_iter()
        .map(|one| {
            let power = match &one.power {
                Value::Number(number) => number.as_u64().map(U256::from),
                Value::String(text) => U256::from_str_radix(text, 10).ok(),
                _ => None,
            };
            let power = power.ok_or_else(|| file_error(path, format_args!("the power of {} is no number", one.address)))?;
            Ok((one.address, power))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_found_in_whatever_form_it_comes() {
        let proof = Bytes::from_static(&[0, 0, 1, 0xab, 0xcd, 0xef]);
        let base64 = STANDARD.encode(&proof);
        let forms = [
            "000001abcdef".to_owned(),
            "0x000001ABCDEF\n".to_owned(),
            "000001\nabcdef\r\n".to_owned(),
            "{\"height\":\"5\",\"result\":{\"evm_proof_bytes\":\"000001ABCDEF\",\"proof\":{}}}".to_owned(),
            format!("{{\"evm_proof_bytes\":\"{base64}\"}}"),
            "\"0x000001abcdef\"".to_owned(),
        ];
        for form in forms {
            assert_eq!(proof_of_text(&form).unwrap(), proof, "{form}");
        }
        for bad in ["", "0x", "xyz!", "proofbad", "{", "{\"result\":{}}", "{\"evm_proof_bytes\":5}", "0x123"] {
            assert!(proof_of_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_are_told_apart_by_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proof");
        std::fs::write(&path, [0, 0, 7]).unwrap();
        assert_eq!(read_proof(&path).unwrap().as_ref(), [0, 0, 7]);
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read_proof(&path).unwrap().as_ref(), [0xff, 0xfe]);
        std::fs::write(&path, "").unwrap();
        assert!(read_proof(&path).is_err());
        assert!(read_proof(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn powers_are_numbers_or_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("validators.json");
        let first = "0x1111111111111111111111111111111111111111";
        std::fs::write(
            &path,
            format!("[{{\"address\":\"{first}\",\"power\":5}},{{\"addr\":\"{first}\",\"power\":\"99999999999999999999\"}}]"),
        )
        .unwrap();
        let found = read_validators(&path).unwrap();
        assert_eq!(found[0].1, U256::from(5));
        assert_eq!(found[1].1.to_string(), "99999999999999999999");
        for bad in ["{}", "[{\"address\":\"0x11\",\"power\":1}]", &format!("[{{\"address\":\"{first}\",\"power\":-1}}]")] {
            std::fs::write(&path, bad).unwrap();
            assert!(read_validators(&path).is_err(), "{bad}");
        }
    }
}
