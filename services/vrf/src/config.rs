//! The section `[vrf.<name>]`: one provider contract, the account that relays to it, and the BandChain account that asks.

mod band;
mod trigger;

use std::time::Duration;

use alloy_primitives::Address;
use windlass_account::Examples;
use windlass_node::config::{Amount, Keys, Section, kind};

pub use band::{BandConfig, GasPrice, MessageChoice, ProofSource, parse_grpc};
pub use trigger::{QueueConfig, TriggerConfig};
pub use windlass_account::{AccountConfig, AccountKey};

/// One relay.
#[derive(Debug, Clone)]
pub struct VrfConfig {
    /// Name of the chain section of the client chain.
    pub chain: String,
    /// The provider contract.
    pub provider: Address,
    /// The contract that reads many tasks at once; without it they are read one by one.
    pub lens: Option<Address>,
    /// The Bridge; read from the provider if it is not given, compared with the provider's if it is.
    pub bridge: Option<Address>,
    /// Version of the provider.
    pub version: VersionChoice,
    /// Callers whose tasks are served.
    pub callers: Vec<Address>,
    /// First nonce that is looked at.
    pub start_nonce: u64,
    /// How many of the newest nonces are looked at when nothing is stored yet.
    pub look_back: u64,
    /// Blocks that a request must be deep before money is spent on it.
    pub confirmations: u64,
    /// Blocks that a relay must be deep before its task is done for good.
    pub final_depth: u64,
    /// Deepest reorganisation that is followed.
    pub max_reorg_depth: u64,
    /// Longest time between two comparisons with the provider's own count and settings.
    pub reconcile_every: Duration,
    /// How often endpoints that cannot push are asked for new blocks.
    pub poll_interval: Duration,
    /// Most tasks that are worked on at the same time.
    pub max_in_flight: u32,
    /// Endpoints that must agree on a task before money is spent on it.
    pub quorum: u32,
    /// First and longest wait between attempts of a failed step.
    pub retry: (Duration, Duration),
    /// How often a held task is looked at again.
    pub recheck_held_every: Duration,
    /// Balance of the relaying account below which there is an alert.
    pub low_balance: Amount,
    /// Decide and say, but spend nothing on either chain.
    pub dry_run: bool,
    /// The relaying account.
    pub account: AccountConfig,
    /// BandChain.
    pub band: BandConfig,
    /// What a relay must earn.
    pub profit: ProfitConfig,
    /// The HTTP trigger of a cloud.
    pub trigger: Option<TriggerConfig>,
}

/// Which version of the provider contract is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VersionChoice {
    /// Ask the provider for its `minCount()`; only V1 answers.
    #[default]
    Auto,
    /// V1.
    V1,
    /// V2.
    V2,
}

/// What happens to a task whose fee is below the expected cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unprofitable {
    /// Served all the same.
    #[default]
    Relay,
    /// Held until gas is cheaper.
    Wait,
    /// Not served, with an alert.
    Skip,
}

/// What a relay must earn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfitConfig {
    /// What happens to a task that does not earn it.
    pub unprofitable: Unprofitable,
    /// The fee must exceed the expected cost by so many percent of the cost.
    pub min_margin_percent: u32,
    /// Gas of one relay, for the expectation before any relay was measured.
    pub expected_gas: u64,
    /// What one BandChain request costs, in the coin of the client chain.
    pub request_cost: Amount,
}

impl Section for VrfConfig {
    const KIND: &'static str = "vrf";
    const NAMED: bool = true;
    const DOC: &'static str = "One relay of random values: watches a VRFProvider contract for requests, asks BandChain for the values, and \
         hands the proven values to the provider.";

    fn read(keys: &mut Keys<'_>) -> Self {
        let contracts = Contracts::read(keys);
        let callers = keys
            .list("callers", kind::address())
            .doc(
                "Addresses whose requests are served, as the provider sees them: usually contracts. With none nothing is served.",
            )
            .example("0x5FbDB2315678afecb367f032d93F642f64180aa3")
            .default("");
        if callers.is_empty() {
            keys.warn("callers", "the list is empty, so no request is served");
        }
        let start_nonce = keys.integer("start_nonce").doc("Tasks with a lower nonce are not looked at.").default("0");
        let look_back = keys
            .integer("look_back")
            .doc("How many of the newest tasks are looked at on the first start. Later starts go on where the last one ended.")
            .range(0..=1_000_000)
            .default("100");
        let pace = Pace::read(keys);
        let low_balance =
            keys.amount("low_balance").doc("Alert when the relaying account holds less than this.").default("0.05 ether");
        let dry_run = keys
            .boolean("dry_run")
            .doc("Decide and tell what would be sent, on both chains, instead of sending it.")
            .default("false");
        let account =
            keys.table("account", "The account of the client chain that relays. It receives the task fees.", read_account);
        let band =
            keys.table("band", "BandChain: its nodes, the account that pays for requests, and what a request says.", band::read);
        let profit = keys.table("profit", "What a relay must earn.", read_profit);
        let trigger = keys.optional_table(
            "trigger",
            "The HTTP trigger of a cloud: POST / works off everything that can be done now and answers when it is done. Not needed \
             where the program simply runs.",
            trigger::read,
        );
        Self {
            chain: contracts.chain,
            provider: contracts.provider,
            lens: contracts.lens,
            bridge: contracts.bridge,
            version: contracts.version,
            callers,
            start_nonce,
            look_back,
            confirmations: pace.confirmations,
            final_depth: pace.final_depth,
            max_reorg_depth: pace.max_reorg_depth,
            reconcile_every: pace.reconcile_every,
            poll_interval: pace.poll_interval,
            max_in_flight: pace.max_in_flight,
            quorum: pace.quorum,
            retry: pace.retry,
            recheck_held_every: pace.recheck_held_every,
            low_balance,
            dry_run,
            account,
            band,
            profit,
            trigger,
        }
    }
}

struct Contracts {
    chain: String,
    provider: Address,
    lens: Option<Address>,
    bridge: Option<Address>,
    version: VersionChoice,
}

impl Contracts {
    fn read(keys: &mut Keys<'_>) -> Self {
        const RULE: &str = "the address of a contract, not the zero address";
        Self {
            chain: keys.chain("chain").doc("The client chain: the one that the provider contract is on.").required(),
            provider: keys
                .address("provider")
                .doc("Address of the VRFProvider contract.")
                .rule(RULE, |address| !address.is_zero())
                .required(),
            lens: keys
                .address("lens")
                .doc("Address of the VRFLens contract, which reads many tasks with one call. Without it tasks are read one by one.")
                .rule(RULE, |address| !address.is_zero())
                .optional(),
            bridge: keys
                .address("bridge")
                .doc(
                    "Address of the Bridge contract. Read from the provider if it is not given; if it is, the provider must name the \
                     same one.",
                )
                .rule(RULE, |address| !address.is_zero())
                .optional(),
            version: keys
                .choice(
                    "version",
                    ("auto", VersionChoice::Auto, "ask the provider"),
                    vec![
                        ("v1", VersionChoice::V1, "the provider has minCount() and askCount(), and stores the proof"),
                        ("v2", VersionChoice::V2, "the provider stores the value only"),
                    ],
                )
                .doc("Version of the provider contract.")
                .default("auto"),
        }
    }
}

struct Pace {
    confirmations: u64,
    final_depth: u64,
    max_reorg_depth: u64,
    reconcile_every: Duration,
    poll_interval: Duration,
    max_in_flight: u32,
    quorum: u32,
    retry: (Duration, Duration),
    recheck_held_every: Duration,
}

impl Pace {
    fn read(keys: &mut Keys<'_>) -> Self {
        let pace = Self {
            confirmations: keys
                .integer("confirmations")
                .doc(
                    "How many blocks deep a request must be before money is spent on it; 1 is the newest block. A reorganisation gives a \
                     request another seed, and what was paid for the old one is lost.",
                )
                .range(1..=10_000)
                .default("2"),
            final_depth: keys
                .integer("final_depth")
                .doc("How many blocks deep a relay must be before its task is done for good. Until then a lost relay is sent again.")
                .range(1..=10_000)
                .default("10"),
            max_reorg_depth: keys
                .integer("max_reorg_depth")
                .doc("Deepest reorganisation that is followed, in blocks.")
                .range(1..=10_000)
                .default("128"),
            reconcile_every: keys
                .duration("reconcile_every")
                .doc("Longest time between two comparisons with the provider's own task count and settings. Events are acted on at once.")
                .at_least("1s")
                .at_most("1h")
                .default("30s"),
            poll_interval: keys
                .duration("poll_interval")
                .doc("How often endpoints are asked for a new block when none of them announces blocks (ws:// and wss:// do).")
                .at_least("100ms")
                .at_most("10m")
                .default("2s"),
            max_in_flight: keys
                .integer("max_in_flight")
                .doc("Most tasks that are worked on at the same time; the others wait in the order of their nonces.")
                .range(1..=10_000)
                .default("256"),
            quorum: keys
                .integer("quorum")
                .doc("How many endpoints of the client chain must agree on a task before money is spent on it. 1 trusts the one that answered.")
                .range(1..=16)
                .default("1"),
            retry: (
                keys.duration("retry_first")
                    .doc("Wait after the first failed attempt of a step; doubles with each further one.")
                    .at_least("100ms")
                    .at_most("1h")
                    .default("1s"),
                keys.duration("retry_max")
                    .doc("Longest wait between two attempts of a step.")
                    .at_least("1s")
                    .at_most("1d")
                    .default("5m"),
            ),
            recheck_held_every: keys
                .duration("recheck_held_every")
                .doc("How often a held task is looked at again, for example one whose consumer contract reverts. Costs nothing but reads.")
                .at_least("1s")
                .at_most("7d")
                .default("10m"),
        };
        keys.check_among(
            "confirmations",
            &["max_reorg_depth"],
            || pace.confirmations <= pace.max_reorg_depth && pace.final_depth <= pace.max_reorg_depth,
            "must be at most max_reorg_depth, as final_depth must",
            "raise max_reorg_depth, or lower confirmations and final_depth",
        );
        keys.check_among(
            "retry_first",
            &["retry_max"],
            || pace.retry.0 <= pace.retry.1,
            "must be at most retry_max",
            "raise retry_max or lower retry_first",
        );
        pace
    }
}

/// What the example file shows: the variables of the former worker.
const KEY_EXAMPLES: Examples = Examples {
    private_key: Some("env:EVM_PRIVATE_KEY"),
    keystore: "/etc/windlass/relay.json",
    password: Some("file:/run/secrets/password"),
    mnemonic: Some("env:EVM_MNEMONIC"),
};

fn read_account(keys: &mut Keys<'_>) -> AccountConfig {
    AccountConfig::read(keys, &KEY_EXAMPLES)
}

fn read_profit(keys: &mut Keys<'_>) -> ProfitConfig {
    ProfitConfig {
        unprofitable: keys
            .choice(
                "unprofitable",
                ("relay", Unprofitable::Relay, "serve it all the same"),
                vec![
                    ("wait", Unprofitable::Wait, "hold it until gas is cheap enough"),
                    ("skip", Unprofitable::Skip, "do not serve it, and alert"),
                ],
            )
            .doc("What happens to a task whose fee is below the expected cost of serving it.")
            .default("relay"),
        min_margin_percent: keys
            .integer("min_margin_percent")
            .doc("The fee must exceed the expected cost by so many percent of that cost.")
            .range(0..=100_000)
            .default("0"),
        expected_gas: keys
            .integer("expected_gas")
            .doc("Gas that one relay is expected to use, before a relay was measured. It grows with the number of Band validators.")
            .range(21_000..=30_000_000)
            .default("600000"),
        request_cost: keys
            .amount("request_cost")
            .doc("What one request on BandChain costs, in the coin of the client chain: its fee and its data source fees.")
            .default("0"),
    }
}
