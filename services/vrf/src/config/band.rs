//! The table `band`: nodes, account and requests of BandChain.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::Url;
use windlass_node::config::kind::{self, Kind};
use windlass_node::config::{Keys, SecretText, SecretUrl};

use crate::ports::band::BroadcastMode;

/// Longest client id that the chain takes, in bytes.
const MAX_CLIENT_ID: usize = 128;
/// Most gas that preparation and execution may be given together.
const MAX_OWASM_GAS: u64 = 8_000_000;

/// BandChain and the account that pays there.
#[derive(Debug, Clone)]
pub struct BandConfig {
    /// gRPC endpoints, `https` for TLS, `http` for none; always with host, and without path.
    pub grpc: Vec<Url>,
    /// REST gateways: base URLs, or URLs of the proof route, to which `/<request id>` is added.
    pub rest: Vec<SecretUrl>,
    /// CometBFT RPC endpoints.
    pub rpc: Vec<SecretUrl>,
    /// Chain id that the Bridge and the nodes must say.
    pub chain_id: Option<String>,
    /// Recovery phrase of the account.
    pub mnemonic: SecretText,
    /// BIP-32 path of the key.
    pub path: String,
    /// Which message is sent.
    pub message: MessageChoice,
    /// Reports that resolve a request. A V1 provider says itself.
    pub min_count: u64,
    /// Validators that are asked. A V1 provider says itself.
    pub ask_count: u64,
    /// Gas for the preparation of the oracle script.
    pub prepare_gas: u64,
    /// Gas for its execution.
    pub execute_gas: u64,
    /// Most that the data sources of one request may cost, in `denom`.
    pub ds_fee_limit: u128,
    /// Denomination of fees.
    pub denom: String,
    /// Gas limit of a transaction per request in it.
    pub gas_limit: u64,
    /// Price of gas in `denom`.
    pub gas_price: GasPrice,
    /// Highest price of gas that is paid when nodes want more than `gas_price`.
    pub max_gas_price: GasPrice,
    /// Most requests in one transaction.
    pub max_batch: u32,
    /// Most transactions that are sent and not included.
    pub max_in_flight: u32,
    /// Most requests that are paid for one task.
    pub max_requests: u32,
    /// Client id of the requests.
    pub client_id: String,
    /// How transactions are broadcast.
    pub broadcast: BroadcastMode,
    /// How long a transaction may take to be included before it is offered again.
    pub inclusion_timeout: Duration,
    /// How long the end of a request may be unseen before it is asked for by itself.
    pub proof_timeout: Duration,
    /// How often a node is asked what it cannot announce.
    pub poll_interval: Duration,
    /// Where proofs come from.
    pub proof_source: ProofSource,
    /// Balance below which there is an alert, in `denom`.
    pub low_balance: u128,
}

/// Which oracle message a chain understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageChoice {
    /// Find out from the chain.
    #[default]
    Auto,
    /// `/band.oracle.v1.MsgRequestData`.
    V3,
    /// `/oracle.v1.MsgRequestData`.
    V2,
}

/// Where proofs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProofSource {
    /// From CometBFT RPC where there is an endpoint, which is a block earlier; else from the Proof service, gRPC before REST.
    #[default]
    Auto,
    /// The Proof service over gRPC.
    Service,
    /// The store proof and the commit of CometBFT RPC.
    Rpc,
    /// The Proof service over REST.
    Rest,
}

/// A price as an exact decimal number: digits with at most one point, `0.0025`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GasPrice(String);

impl GasPrice {
    /// The number as text, without needless zeros: what `0.00250` and `.0025` were written for is `0.0025`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('.').unwrap_or((&self.0, ""))
    }
}

impl Default for GasPrice {
    fn default() -> Self {
        Self("0".to_owned())
    }
}

impl fmt::Display for GasPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GasPrice {
    type Err = String;

    /// Reads up to 18 digits before and 18 digits behind the point.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len().saturating_add(fraction.len()) == 0 || !digits(whole) || !digits(fraction) {
            return Err("it is not a plain decimal number".to_owned());
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if whole.len() > 18 || fraction.len() > 18 {
            return Err("it has more than 18 digits before or behind the point".to_owned());
        }
        let whole = if whole.is_empty() { "0" } else { whole };
        Ok(Self(if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }))
    }
}

impl PartialOrd for GasPrice {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GasPrice {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((whole, fraction), (other_whole, other_fraction)) = (self.parts(), other.parts());
        // No needless zeros: the longer whole part is larger, and fractions compare as texts.
        (whole.len(), whole, fraction).cmp(&(other_whole.len(), other_whole, other_fraction))
    }
}

/// A gRPC endpoint as operators write it: `host:port` with TLS, or a URL with `http://` for none.
///
/// # Errors
/// A short sentence that says what is wrong.
pub fn parse_grpc(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&with_scheme).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("there is no support for {:?}", url.scheme()));
    }
    if !url.has_host() || url.host_str().is_none_or(str::is_empty) {
        return Err("the host is missing".to_owned());
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err("a gRPC endpoint has host and port only".to_owned());
    }
    Ok(url)
}

fn grpc_endpoint() -> Kind<Url> {
    #[expect(clippy::expect_used, reason = "a constant that is a valid URL")]
    let placeholder = Url::parse("http://localhost/").expect("a valid URL");
    let rule = "host:port (with TLS), or https://host:port or http://host:port";
    kind::custom("gRPC endpoint", rule, "laozi1.bandchain.org:443", placeholder, parse_grpc)
}

fn gas_price() -> Kind<GasPrice> {
    kind::custom("decimal number", "a decimal number in quotes, such as \"0.0025\"", "0.0025", GasPrice::default(), str::parse)
}

/// Whether a text is a BIP-32 path: `m` and numbers below 2^31, each optionally hardened.
fn is_path(text: &str) -> bool {
    let mut segments = text.split('/');
    segments.next() == Some("m")
        && segments.clone().next().is_some()
        && segments.all(|segment| {
            let number = segment.strip_suffix(['\'', 'h']).unwrap_or(segment);
            number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<u32>().is_ok_and(|number| number < 1 << 31)
        })
}

pub(super) fn read(keys: &mut Keys<'_>) -> BandConfig {
    let (grpc, rest, rpc) = read_nodes(keys);
    let chain_id = keys
        .string("chain_id")
        .doc("Chain id of BandChain. The Bridge and the nodes must name the same one; this guards against both being wrong together.")
        .rule("1 to 50 characters", |id| (1..=50).contains(&id.len()))
        .example("laozi-mainnet")
        .optional();
    let mnemonic = keys
        .secret("mnemonic")
        .doc("Recovery phrase of the account that pays for requests.")
        .example("env:BAND_MNEMONIC")
        .required();
    let path = keys
        .string("path")
        .doc("Derivation path of its key.")
        .rule("a path such as m/44'/494'/0'/0/0", |path| is_path(path))
        .default("m/44'/494'/0'/0/0");
    let request = Request::read(keys);
    let fees = Fees::read(keys);
    let pace = Pace::read(keys);
    let proof_source = keys
        .choice(
            "proof_source",
            ("auto", ProofSource::Auto, "the store itself where an rpc endpoint is given, else the Proof service"),
            vec![
                ("service", ProofSource::Service, "the Proof service over gRPC"),
                ("rpc", ProofSource::Rpc, "built from the store proof and the commit of CometBFT RPC: a block earlier"),
                ("rest", ProofSource::Rest, "the Proof service over REST"),
            ],
        )
        .doc("Where proofs come from.")
        .default("auto");
    let (has_rpc, has_rest) = (!rpc.is_empty(), !rest.is_empty());
    keys.check_among(
        "proof_source",
        &["rpc", "rest"],
        || match proof_source {
            ProofSource::Auto | ProofSource::Service => true,
            ProofSource::Rpc => has_rpc,
            ProofSource::Rest => has_rest,
        },
        "names a source without an endpoint",
        "add endpoints to band.rpc or band.rest, or use proof_source = \"auto\"",
    );
    BandConfig {
        grpc,
        rest,
        rpc,
        chain_id,
        mnemonic,
        path,
        message: request.message,
        min_count: request.min_count,
        ask_count: request.ask_count,
        prepare_gas: request.prepare_gas,
        execute_gas: request.execute_gas,
        ds_fee_limit: request.ds_fee_limit,
        denom: fees.denom,
        gas_limit: fees.gas_limit,
        gas_price: fees.gas_price,
        max_gas_price: fees.max_gas_price,
        max_batch: pace.max_batch,
        max_in_flight: pace.max_in_flight,
        max_requests: pace.max_requests,
        client_id: request.client_id,
        broadcast: pace.broadcast,
        inclusion_timeout: pace.inclusion_timeout,
        proof_timeout: pace.proof_timeout,
        poll_interval: pace.poll_interval,
        proof_source,
        low_balance: fees.low_balance,
    }
}

fn read_nodes(keys: &mut Keys<'_>) -> (Vec<Url>, Vec<SecretUrl>, Vec<SecretUrl>) {
    let grpc = keys
        .list("grpc", grpc_endpoint())
        .doc("gRPC endpoints. The best one is used, the others stand by. Without a scheme TLS is used.")
        .rule("at least one endpoint", |endpoints| !endpoints.is_empty())
        .example("laozi1.bandchain.org:443,band-grpc.example.org:443")
        .required();
    let rest = keys
        .list("rest", kind::secret_url())
        .doc(
            "REST gateways, for proofs when gRPC gives none: the base URL, or the URL of the proof route, to which /<request id> is \
             added.",
        )
        .example("https://laozi1.bandchain.org/api")
        .default("");
    let rpc = keys
        .list("rpc", kind::secret_url())
        .doc("CometBFT RPC endpoints. With one, results are seen as they are made and proofs are had a block earlier.")
        .example("https://rpc.laozi1.bandchain.org")
        .default("");
    (grpc, rest, rpc)
}

struct Request {
    message: MessageChoice,
    min_count: u64,
    ask_count: u64,
    prepare_gas: u64,
    execute_gas: u64,
    ds_fee_limit: u128,
    client_id: String,
}

impl Request {
    fn read(keys: &mut Keys<'_>) -> Self {
        let request = Self {
            message: keys
                .choice(
                    "message",
                    ("auto", MessageChoice::Auto, "find out from the chain"),
                    vec![
                        ("v3", MessageChoice::V3, "/band.oracle.v1.MsgRequestData, of chain version 3"),
                        ("v2", MessageChoice::V2, "/oracle.v1.MsgRequestData, of chain version 2"),
                    ],
                )
                .doc("Which message asks for a value.")
                .default("auto"),
            min_count: keys
                .integer("min_count")
                .doc("Reports that resolve a request. A V1 provider has its own number, which is then used.")
                .range(1..=100)
                .default("2"),
            ask_count: keys
                .integer("ask_count")
                .doc("Validators that are asked to report. A V1 provider has its own number, which is then used.")
                .range(1..=100)
                .default("3"),
            prepare_gas: keys
                .integer("prepare_gas")
                .doc("Gas for the preparation of the oracle script.")
                .range(1..=MAX_OWASM_GAS)
                .default("100000"),
            execute_gas: keys.integer("execute_gas").doc("Gas for its execution.").range(1..=MAX_OWASM_GAS).default("400000"),
            ds_fee_limit: keys
                .integer("ds_fee_limit")
                .doc(
                    "Most that the data sources of one request may cost, in denom. A request whose data sources want more fails.",
                )
                .default("1000000"),
            client_id: keys
                .string("client_id")
                .doc("Client id of the requests. Part of what is proven; anything may be written.")
                .rule("at most 128 bytes", |id| id.len() <= MAX_CLIENT_ID)
                .default("vrf_worker"),
        };
        keys.check_among(
            "ask_count",
            &["min_count"],
            || request.min_count <= request.ask_count,
            "must be at least min_count",
            "raise ask_count or lower min_count",
        );
        keys.check_among(
            "execute_gas",
            &["prepare_gas"],
            || request.prepare_gas.saturating_add(request.execute_gas) <= MAX_OWASM_GAS,
            "must be at most 8000000 together with prepare_gas: the chain refuses more",
            "lower execute_gas or prepare_gas",
        );
        request
    }
}

struct Fees {
    denom: String,
    gas_limit: u64,
    gas_price: GasPrice,
    max_gas_price: GasPrice,
    low_balance: u128,
}

impl Fees {
    fn read(keys: &mut Keys<'_>) -> Self {
        let fees = Self {
            denom: keys
                .string("denom")
                .doc("Denomination of fees.")
                .rule("3 to 128 letters, digits and / : . _ -, beginning with a letter", |denom| is_denom(denom))
                .default("uband"),
            gas_limit: keys
                .integer("gas_limit")
                .doc("Gas limit of a transaction for each request in it. Must cover prepare_gas, execute_gas and some for the chain.")
                .range(1..=1_000_000_000)
                .default("800000"),
            gas_price: keys
                .key("gas_price", gas_price())
                .doc("Price of gas in denom, exactly as written. The fee is gas limit times price, rounded up.")
                .default("0.0025"),
            max_gas_price: keys
                .key("max_gas_price", gas_price())
                .doc("Highest price of gas that is paid when a node says that gas_price is too low.")
                .default("0.025"),
            low_balance: keys
                .integer("low_balance")
                .doc("Alert when the account holds less than this, in denom.")
                .default("1000000"),
        };
        keys.check_among(
            "max_gas_price",
            &["gas_price"],
            || fees.gas_price <= fees.max_gas_price,
            "must be at least gas_price",
            "raise max_gas_price or lower gas_price",
        );
        fees
    }
}

fn is_denom(text: &str) -> bool {
    (3..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/:._-".contains(&b))
}

struct Pace {
    max_batch: u32,
    max_in_flight: u32,
    max_requests: u32,
    broadcast: BroadcastMode,
    inclusion_timeout: Duration,
    proof_timeout: Duration,
    poll_interval: Duration,
}

impl Pace {
    fn read(keys: &mut Keys<'_>) -> Self {
        Self {
            max_batch: keys
                .integer("max_batch")
                .doc("Most requests in one transaction. Tasks that wait together share it; nobody waits for others.")
                .range(1..=100)
                .default("10"),
            max_in_flight: keys
                .integer("max_in_flight")
                .doc("Most transactions that are sent and not included.")
                .range(1..=100)
                .default("4"),
            max_requests: keys
                .integer("max_requests")
                .doc("Most requests that are paid for one task: another one is made only when BandChain failed to resolve the last.")
                .range(1..=100)
                .default("3"),
            broadcast: keys
                .choice(
                    "broadcast",
                    ("sync", BroadcastMode::Sync, "the node answers when it has checked the transaction"),
                    vec![("block", BroadcastMode::Block, "the node answers when the transaction is in a block; old chains only")],
                )
                .doc("How transactions are broadcast.")
                .default("sync"),
            inclusion_timeout: keys
                .duration("inclusion_timeout")
                .doc("A transaction that is not in a block after this time is offered to the nodes again, the same bytes.")
                .at_least("1s")
                .at_most("1h")
                .default("30s"),
            proof_timeout: keys
                .duration("proof_timeout")
                .doc("A paid request whose end was not seen after this time is asked for by itself, again and again.")
                .at_least("1s")
                .at_most("1d")
                .default("60s"),
            poll_interval: keys
                .duration("poll_interval")
                .doc("How often the nodes are asked for new blocks, inclusions and results.")
                .at_least("5ms")
                .at_most("1m")
                .default("1s"),
        }
    }
}
