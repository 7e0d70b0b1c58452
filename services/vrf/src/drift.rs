//! How far the Bridge's validators are from those that sign on BandChain now: who, and how much power.

use alloy_primitives::{Address, U256};
use serde::Serialize;

use crate::error::VrfError;
use crate::ports::band::BandApi;
use crate::ports::client_chain::ProviderReader;
use crate::prove;
use crate::trace::{as_optional_text, as_text};
use crate::watch::describe;

/// Both sets side by side. Powers are decimal texts; those of the Bridge count there, those of the chain here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriftReport {
    /// The Bridge.
    pub bridge: Address,
    /// The Band chain whose votes it accepts.
    pub chain_id: Option<String>,
    /// One sentence.
    pub text: String,
    /// Whether a block that all live validators sign is accepted.
    pub can_relay: bool,
    /// Power in the Bridge's set that may be missing on a block; `null` if every block is refused.
    #[serde(serialize_with = "as_optional_text")]
    pub spare: Option<U256>,
    /// The same in thousandths of the Bridge's total.
    pub spare_per_mille: Option<u64>,
    /// Total power in the Bridge's set.
    #[serde(serialize_with = "as_text")]
    pub bridge_total: U256,
    /// Total power of the live set.
    #[serde(serialize_with = "as_text")]
    pub live_total: U256,
    /// What a block signed by all live validators counts at the Bridge.
    #[serde(serialize_with = "as_text")]
    pub reachable: U256,
    /// Smallest power that the Bridge accepts.
    #[serde(serialize_with = "as_text")]
    pub needed: U256,
    /// Validators in the Bridge's set.
    pub bridge_validators: usize,
    /// Live validators.
    pub live_validators: usize,
    /// Those that differ: first the ones that are gone, then new ones, then changed ones, the largest difference first.
    pub differences: Vec<Difference>,
}

/// One validator in which the sets differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// EVM address of its consensus key.
    pub address: Address,
    /// `gone`: it signs no more; `unknown`: the Bridge does not know it; `changed`: its power is another one.
    pub kind: &'static str,
    /// Its power in the Bridge's set.
    #[serde(serialize_with = "as_optional_text")]
    pub bridge: Option<U256>,
    /// Its live power.
    #[serde(serialize_with = "as_optional_text")]
    pub live: Option<U256>,
}

impl DriftReport {
    /// Reads both sets and compares them.
    ///
    /// # Errors
    /// One of the chains does not answer, or answers what is no validator set.
    pub async fn read(reader: &ProviderReader, band: &dyn BandApi) -> Result<Self, VrfError> {
        let head = reader.endpoints().head().await?;
        let bridge = reader.settings(&head).await?.bridge;
        let state = reader.bridge_state(bridge, &head).await?;
        let live = band.validators().await?;
        let drift = prove::drift(&state.validators, &live)
            .map_err(|fault| VrfError::Contract(format!("the live validators of BandChain are no set: {fault}")))?;
        let gone = drift.gone.iter().map(|(address, power)| Difference {
            address: *address,
            kind: "gone",
            bridge: Some(*power),
            live: None,
        });
        let unknown = drift.unknown.iter().map(|(address, power)| Difference {
            address: *address,
            kind: "unknown",
            bridge: None,
            live: Some(*power),
        });
        let changed = drift.changed.iter().map(|change| Difference {
            address: change.address,
            kind: "changed",
            bridge: Some(change.bridge),
            live: Some(change.live),
        });
        Ok(Self {
            bridge,
            chain_id: state.encoded_chain_id.name().map(str::to_owned),
            text: describe(&drift),
            can_relay: drift.can_relay(),
            spare: drift.spare(),
            spare_per_mille: drift.spare_per_mille(),
            bridge_total: drift.bridge_total,
            live_total: drift.live_total,
            reachable: drift.reachable,
            needed: drift.needed,
            bridge_validators: state.validators.len(),
            live_validators: live.len(),
            differences: gone.chain(unknown).chain(changed).collect(),
        })
    }
}
