//! `band_tx`: from a mnemonic to the bytes and the hash of a Band transaction.

use alloy_primitives::{Bytes, hex};
use anyhow::{Context, ensure};
use k256::ecdsa::SigningKey;
use serde::Deserialize;
use serde_json::Value;
use windlass_keys::{Mnemonic, Secret};
use windlass_vrf_protocol::merkle::sha256;
use windlass_vrf_protocol::messages::oracle::MsgRequestData;
use windlass_vrf_protocol::messages::tx::Coin;
use windlass_vrf_protocol::obi::Calldata;
use windlass_vrf_protocol::tx::{BandAddress, MessageType, RequestDataMsg, SignInput, decode, fee, sign};

use super::super::{bytes, same};
use super::common::{Number, address, document, hash};
use crate::Sheet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: Option<String>,
    mnemonic: String,
    derivation_path: String,
    private_key: String,
    public_key: String,
    address: String,
    valoper_address: String,
    seed: String,
    time: Number,
    worker: String,
    oracle_script_id: Number,
    ask_count: Number,
    min_count: Number,
    client_id: String,
    prepare_gas: Number,
    execute_gas: Number,
    ds_fee_limit_uband: Number,
    gas_price: Number,
    gas_limit: Number,
    fee_uband: Number,
    account_number: Number,
    sequence: Number,
    chain_id: String,
    memo: Option<String>,
    msg_type_url: String,
    msg_bytes: String,
    sign_doc: String,
    sign_doc_sha256: String,
    signature: String,
    tx_raw: String,
    tx_hash: String,
}

/// Checks the document.
pub(crate) fn run(json: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document = document::<Case>(json, "band_tx")?;
    for (number, case) in document.cases.iter().enumerate() {
        sheet.case(&format!("{number} {}", case.note.as_deref().unwrap_or_default()), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let key = check_keys(case)?;
    let message = check_message(case, &key)?;
    let input = SignInput {
        messages: vec![message],
        memo: case.memo.clone().unwrap_or_default(),
        fee: fee(case.gas_limit.u64()?, &case.gas_price.decimal())?,
        denom: "uband".into(),
        gas_limit: case.gas_limit.u64()?,
        sequence: case.sequence.u64()?,
        account_number: case.account_number.u64()?,
        chain_id: case.chain_id.clone(),
    };
    same("fee", input.fee.to_string(), case.fee_uband.unsigned()?.to_string())?;
    let signed = sign(&key, &input)?;
    same("sign document", &signed.sign_doc, &bytes(&case.sign_doc)?)?;
    same("its hash", sha256(&[&signed.sign_doc]), hash(&case.sign_doc_sha256)?)?;
    same("signature", &signed.signature, &bytes(&case.signature)?)?;
    let recorded = bytes(&case.tx_raw)?;
    same("transaction", &signed.bytes, &recorded)?;
    same("transaction hash", &signed.hash, &case.tx_hash)?;

    let read = decode(&recorded)?;
    same("sender that is read back", read.sender().to_string(), case.address.clone())?;
    same("sequence that is read back", read.sequence, input.sequence)?;
    let messages: Vec<RequestDataMsg> = read.requests.iter().map(|(_, message)| message.clone()).collect();
    same("messages that are read back", &messages, &input.messages)?;
    ensure!(read.verify(&case.chain_id, input.account_number), "the recorded signature is not right");
    Ok(())
}

fn check_keys(case: &Case) -> anyhow::Result<SigningKey> {
    let mnemonic = Mnemonic::parse(&Secret::new(case.mnemonic.clone()))?;
    let derived = mnemonic.derive_path(&case.derivation_path, &Secret::new(String::new()))?;
    same("private key", hex::encode(*derived.to_bytes()), case.private_key.clone())?;
    let key = SigningKey::from_slice(derived.to_bytes().as_slice()).context("the private key is out of range")?;
    let public = key.verifying_key();
    same("public key", hex::encode(public.to_encoded_point(true).as_bytes()), case.public_key.clone())?;
    let account = BandAddress::of_key(public);
    same("address", account.to_string(), case.address.clone())?;
    same("operator address", account.to_operator(), case.valoper_address.clone())?;
    same("address that is read back", BandAddress::parse(&case.address)?, account)?;
    same("operator address that is read back", BandAddress::parse_operator(&case.valoper_address)?, account)?;
    Ok(key)
}

fn check_message(case: &Case, key: &SigningKey) -> anyhow::Result<RequestDataMsg> {
    let calldata = Calldata { seed: hash(&case.seed)?, time: case.time.u64()?, worker: address(&case.worker)? };
    let version = MessageType::from_type_url(&case.msg_type_url);
    let message = RequestDataMsg {
        version: version.with_context(|| format!("the message {} is not known", case.msg_type_url))?,
        message: MsgRequestData {
            oracle_script_id: case.oracle_script_id.u64()?,
            calldata: calldata.encode().to_vec(),
            ask_count: case.ask_count.u64()?,
            min_count: case.min_count.u64()?,
            client_id: case.client_id.clone(),
            fee_limit: vec![Coin { denom: "uband".into(), amount: case.ds_fee_limit_uband.unsigned()?.to_string() }],
            prepare_gas: case.prepare_gas.u64()?,
            execute_gas: case.execute_gas.u64()?,
            sender: BandAddress::of_key(key.verifying_key()).to_string(),
            tss_encoder: 0,
        },
    };
    same("message", Bytes::from(message.to_any().value), bytes(&case.msg_bytes)?)?;
    Ok(message)
}
