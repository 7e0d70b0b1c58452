//! The settings of worker 0.2: a YAML file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::reader::{Found, Reader};
use super::settings::{CloudSettings, DeploySettings, Former, FormerSecret, WorkerSettings};
use super::{ImportError, ImportFailure, Note, Place};

/// Variables that win over the file, and the keys that they replace.
const OVERRIDES: [(&str, &str); 2] = [(PRIVATE_KEY, "EVM_PRIVATE_KEY"), (MNEMONIC, "BAND_MNEMONIC")];
const PRIVATE_KEY: &str = "evm_chain_config.private_key";
const MNEMONIC: &str = "band_chain_config.mnemonic";
const CALLERS: &str = "evm_chain_config.whitelisted_callers";
const EIP1559: &str = "evm_chain_config.eip1559";

type Field<T> = Option<Spanned<Option<T>>>;

#[derive(Deserialize)]
struct File {
    evm_chain_config: Option<Evm>,
    band_chain_config: Option<Band>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Evm {
    chain_id: Field<String>,
    rpc_endpoint: Field<String>,
    vrf_provider_address: Field<String>,
    vrf_lens_address: Field<String>,
    bridge_address: Field<String>,
    private_key: Field<String>,
    whitelisted_callers: Field<Vec<Spanned<String>>>,
    start_nonce: Field<String>,
    eip1559: Field<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Band {
    grpc_endpoint: Field<String>,
    mnemonic: Field<String>,
    min_count: Field<String>,
    ask_count: Field<String>,
    prepare_gas: Field<String>,
    execute_gas: Field<String>,
    ds_fee_limit: Field<String>,
    gas_limit: Field<String>,
    gas_price: Field<String>,
}

/// The keys of both sections, in the order of the former example.
const EVM_KEYS: [&str; 9] = [
    "chain_id",
    "rpc_endpoint",
    "vrf_provider_address",
    "vrf_lens_address",
    "bridge_address",
    "private_key",
    "start_nonce",
    "eip1559",
    "whitelisted_callers",
];
const BAND_KEYS: [&str; 9] = [
    "grpc_endpoint",
    "mnemonic",
    "min_count",
    "ask_count",
    "prepare_gas",
    "execute_gas",
    "ds_fee_limit",
    "gas_limit",
    "gas_price",
];

/// Reads the text of a YAML file called `file`. `variable` looks up variables of the environment: `EVM_PRIVATE_KEY` and `BAND_MNEMONIC`
/// win over the file.
///
/// # Errors
/// Everything that is wrong in it. No message repeats a value that may be a secret.
pub fn read_yaml(
    file: &str,
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(WorkerSettings, Vec<Note>), ImportFailure> {
    let (values, callers) = parse(file, text)?;
    let lookup = |key: &str| -> Option<Found> {
        let name = OVERRIDES.iter().find(|(of, _)| *of == key).map(|(_, name)| *name);
        if let Some(name) = name
            && let Some(text) = variable(name).filter(|text| !text.trim().is_empty())
        {
            return Some(Found { text, place: Place::Variable(name.to_owned()) });
        }
        values.get(key).cloned()
    };
    let mut reader = Reader::new(file, lookup);
    reader.notes = unknown_keys(file, text);
    let settings = read(&mut reader, &callers);
    reader.finish(settings)
}

type Values = BTreeMap<String, Found>;

fn parse(file: &str, text: &str) -> Result<(Values, Vec<Found>), ImportFailure> {
    let parsed: File = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        // The library's own text may repeat what stands there, and that may be a key.
        ImportFailure::Settings(vec![ImportError {
            place: Place::Line { file: file.to_owned(), line },
            key: "the file".to_owned(),
            rule: "must be valid YAML: the sections evm_chain_config and band_chain_config with one value for each key"
                .to_owned(),
            remedy: "correct the line, or the one before it; write texts in quotes".to_owned(),
        }])
    })?;
    let mut values = Values::new();
    let place = |line: u64| Place::Line { file: file.to_owned(), line: usize::try_from(line).unwrap_or(1) };
    let mut keep = |section: &str, key: &str, field: Field<String>| {
        if let Some(field) = field {
            let found = Found { text: field.value.unwrap_or_default(), place: place(field.referenced.line()) };
            values.insert(format!("{section}.{key}"), found);
        }
    };
    let evm = parsed.evm_chain_config.unwrap_or_default();
    for (key, field) in [
        ("chain_id", evm.chain_id),
        ("rpc_endpoint", evm.rpc_endpoint),
        ("vrf_provider_address", evm.vrf_provider_address),
        ("vrf_lens_address", evm.vrf_lens_address),
        ("bridge_address", evm.bridge_address),
        ("private_key", evm.private_key),
        ("start_nonce", evm.start_nonce),
        ("eip1559", evm.eip1559),
    ] {
        keep("evm_chain_config", key, field);
    }
    let band = parsed.band_chain_config.unwrap_or_default();
    for (key, field) in [
        ("grpc_endpoint", band.grpc_endpoint),
        ("mnemonic", band.mnemonic),
        ("min_count", band.min_count),
        ("ask_count", band.ask_count),
        ("prepare_gas", band.prepare_gas),
        ("execute_gas", band.execute_gas),
        ("ds_fee_limit", band.ds_fee_limit),
        ("gas_limit", band.gas_limit),
        ("gas_price", band.gas_price),
    ] {
        keep("band_chain_config", key, field);
    }
    let callers = evm.whitelisted_callers.and_then(|field| field.value).unwrap_or_default();
    let callers =
        callers.into_iter().map(|caller| Found { place: place(caller.referenced.line()), text: caller.value }).collect();
    Ok((values, callers))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false }
}

/// Keys that worker 0.2 did not know; it took no notice of them.
fn unknown_keys(file: &str, text: &str) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut told = |key: &str| {
        let line = text.lines().position(|line| line.trim_start().starts_with(&format!("{key}:")));
        let place = Place::Line { file: file.to_owned(), line: line.map_or(1, |line| line.saturating_add(1)) };
        notes.push(Note { place, key: key.to_owned(), text: "no worker knew this key, so it has no effect".to_owned() });
    };
    let sections: BTreeMap<String, IgnoredAny> = serde_saphyr::from_str_with_options(text, options()).unwrap_or_default();
    for section in sections.keys().filter(|name| !["evm_chain_config", "band_chain_config"].contains(&name.as_str())) {
        told(section);
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Keys {
        evm_chain_config: BTreeMap<String, IgnoredAny>,
        band_chain_config: BTreeMap<String, IgnoredAny>,
    }
    let keys: Keys = serde_saphyr::from_str_with_options(text, options()).unwrap_or_default();
    for key in keys.evm_chain_config.keys().filter(|key| !EVM_KEYS.contains(&key.as_str())) {
        told(key);
    }
    for key in keys.band_chain_config.keys().filter(|key| !BAND_KEYS.contains(&key.as_str())) {
        told(key);
    }
    notes
}

fn read(reader: &mut Reader<'_>, callers: &[Found]) -> WorkerSettings {
    let chain = reader.text("evm_chain_config.chain_id");
    if chain.as_ref().is_some_and(|chain| chain.bytes().all(|b| b.is_ascii_digit())) {
        reader.note(
            "evm_chain_config.chain_id",
            "the former worker did not compare it with the node; write it as chain_id into the chain section to have it compared",
        );
    }
    let rpc = reader.urls("evm_chain_config.rpc_endpoint");
    if reader.find("evm_chain_config.rpc_endpoint").is_none() {
        reader.error(
            "evm_chain_config.rpc_endpoint",
            "is required: an endpoint of the client chain",
            "write the URL of a JSON-RPC endpoint",
        );
    }
    let eip1559 = reader.text(EIP1559).map(|text| text.to_ascii_lowercase());
    if eip1559.as_ref().is_some_and(|text| !matches!(text.as_str(), "true" | "false" | "yes" | "no" | "on" | "off")) {
        reader.error(EIP1559, "must be true or false", "write true or false, without quotes");
    }
    WorkerSettings {
        former: Former::Yaml,
        source: reader.source.clone(),
        chain,
        rpc,
        provider: reader.required_address("evm_chain_config.vrf_provider_address"),
        lens: reader.address("evm_chain_config.vrf_lens_address"),
        bridge: reader.address("evm_chain_config.bridge_address"),
        key: reader.secret(PRIVATE_KEY, "EVM_PRIVATE_KEY"),
        callers: reader.callers(CALLERS, callers),
        start_nonce: reader.number("evm_chain_config.start_nonce", 0),
        eip1559: eip1559.map(|text| matches!(text.as_str(), "true" | "yes" | "on")),
        grpc: reader.grpc("band_chain_config.grpc_endpoint", None),
        band_rpc: Vec::new(),
        proof_urls: Vec::new(),
        mnemonic: reader.secret(MNEMONIC, "BAND_MNEMONIC"),
        min_count: reader.number("band_chain_config.min_count", 2),
        ask_count: reader.number("band_chain_config.ask_count", 3),
        prepare_gas: reader.number("band_chain_config.prepare_gas", 100_000),
        execute_gas: reader.number("band_chain_config.execute_gas", 400_000),
        ds_fee_limit: reader.number("band_chain_config.ds_fee_limit", 48),
        gas_limit: reader.number("band_chain_config.gas_limit", 800_000),
        gas_price: reader.price("band_chain_config.gas_price", "0.0025"),
        max_relay_gas: None,
        block_diff: None,
        webhook: None,
        in_cloud: false,
        listen: None,
        database: None,
        cloud: CloudSettings::default(),
        deploy: DeploySettings::default(),
    }
}

/// Settings as the file of worker 0.2, by the rules of its own migration script: the same keys in the same order, callers split at commas
/// and trimmed, EIP-1559 unless it is switched off. Of several endpoints the first is written, because worker 0.2 knows one. Secrets are
/// written only if `inline_secrets`; otherwise they must be given in `EVM_PRIVATE_KEY` and `BAND_MNEMONIC`.
pub fn to_yaml(settings: &WorkerSettings, inline_secrets: bool) -> String {
    let mut page = String::new();
    let secret = |secret: &FormerSecret| match &secret.value {
        Some(value) if inline_secrets => value.expose().to_owned(),
        _ => String::new(),
    };
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
    let address =
        |address: Option<alloy_primitives::Address>| address.map_or_else(String::new, |address| address.to_checksum(None));
    let _ = writeln!(page, "evm_chain_config:");
    for (key, value) in [
        ("chain_id", settings.chain.clone().unwrap_or_default()),
        ("rpc_endpoint", settings.rpc.first().cloned().unwrap_or_default()),
        ("vrf_provider_address", address(Some(settings.provider))),
        ("vrf_lens_address", address(settings.lens)),
        ("bridge_address", address(settings.bridge)),
        ("private_key", secret(&settings.key)),
    ] {
        let _ = writeln!(page, "  {key}: {}", quoted(&value));
    }
    let _ = writeln!(page, "  start_nonce: {}", settings.start_nonce);
    let _ = writeln!(page, "  eip1559: {}", settings.eip1559.unwrap_or(true));
    let _ = match settings.callers.is_empty() {
        true => writeln!(page, "  whitelisted_callers: []"),
        false => writeln!(page, "  whitelisted_callers:"),
    };
    for caller in &settings.callers {
        let _ = writeln!(page, "    - {}", quoted(&caller.to_checksum(None)));
    }
    let _ = writeln!(page, "\nband_chain_config:");
    let _ = writeln!(page, "  grpc_endpoint: {}", quoted(settings.grpc.first().map_or("", String::as_str)));
    let _ = writeln!(page, "  mnemonic: {}", quoted(&secret(&settings.mnemonic)));
    for (key, number) in [
        ("min_count", u128::from(settings.min_count)),
        ("ask_count", u128::from(settings.ask_count)),
        ("prepare_gas", u128::from(settings.prepare_gas)),
        ("execute_gas", u128::from(settings.execute_gas)),
        ("ds_fee_limit", settings.ds_fee_limit),
        ("gas_limit", u128::from(settings.gas_limit)),
    ] {
        let _ = writeln!(page, "  {key}: {number}");
    }
    let _ = writeln!(page, "  gas_price: {}", settings.gas_price);
    page
}
