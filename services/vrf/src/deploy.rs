//! Puts the contracts of the relay on a development chain: Bridge, provider, lens and an example of a consumer.
//!
//! The transactions go through an outbox under fixed keys, so a deployment that was interrupted goes on where it stood, and one that is
//! asked for twice is made once. Not for chains where money is real: the contracts carry no audit, and between its creation and its
//! initialisation anyone could take the Bridge over. That is noticed: then the initialisation fails.

use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;
use windlass_contracts::init_code;
use windlass_contracts::vrf::bridge::ValidatorPowers::ValidatorWithPower;
use windlass_contracts::vrf::{Bridge, BridgeV2Layout, VRFConsumer, VRFLensV1, VRFLensV2, VRFProviderV1, VRFProviderV2};
use windlass_outbox::{Intent, IntentId, Outbox, OutboxError, State, Until};

use crate::protocol::multistore::Layout;
use crate::protocol::task::ProviderVersion;
use crate::protocol::vote::EncodedChainId;

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Of provider and lens.
    pub version: ProviderVersion,
    /// Whose stores the Bridge knows.
    pub layout: Layout,
    /// Validators of BandChain with their powers.
    pub validators: Vec<(Address, U256)>,
    /// What votes of the chain end in.
    pub encoded_chain_id: EncodedChainId,
    /// The oracle script whose results the provider takes.
    pub oracle_script_id: u64,
    /// Least fee of a request, wei.
    pub minimum_fee: U256,
    /// V1: the minimum count and the ask count that requests must have.
    pub counts: (u8, u8),
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Deployed {
    /// The Bridge.
    pub bridge: Address,
    /// The provider.
    pub provider: Address,
    /// The lens.
    pub lens: Address,
    /// A consumer that keeps the newest value.
    pub consumer: Address,
}

/// Why a deployment did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The outbox failed, or the name was used for another deployment.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A transaction ended without success.
    #[error("{what} failed: its transaction is {state}")]
    Failed {
        /// What should have been done.
        what: &'static str,
        /// How the transaction ended.
        state: State,
    },
    /// A transaction is not included yet. It goes on.
    #[error("{what} is not in a block after {waited_s} s")]
    Slow {
        /// What is waited for.
        what: &'static str,
        /// For how long.
        waited_s: u64,
    },
}

impl DeployError {
    /// Whether asking for the same deployment again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Outbox(error) => error.is_transient(),
            Self::Slow { .. } => true,
            Self::Failed { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Outbox(OutboxError::ContentDiffers { .. }) => Some("give another deployment another name".to_owned()),
            Self::Outbox(error) => error.hint(),
            Self::Failed { .. } => Some("give the account funds, and the deployment another name".to_owned()),
            Self::Slow { .. } => Some("run the same command again; it goes on where it stands".to_owned()),
        }
    }
}

/// Deploys under a name, from the account of the outbox, which somebody must be running. Waits for each step for at most `patience`.
///
/// # Errors
/// [`DeployError`].
pub async fn deploy(outbox: &Outbox, name: &str, plan: &Deployment, patience: Duration) -> Result<Deployed, DeployError> {
    let steps = Steps { outbox, name, patience };
    let bridge_code = match plan.layout {
        Layout::V3 => &Bridge::BYTECODE,
        Layout::V2 => &BridgeV2Layout::BYTECODE,
    };
    let bridge = steps.create("the Bridge", "bridge", bridge_code.clone()).await?;
    let validators = plan.validators.iter().map(|(addr, power)| ValidatorWithPower { addr: *addr, power: *power }).collect();
    let initialize = Bridge::initializeCall { validators, _encodedChainID: plan.encoded_chain_id.0.clone() };
    let initialized = steps.submit("initialize", Intent::new(String::new(), bridge).with_data(initialize.abi_encode())).await?;
    let provider = steps.create("the provider", "provider", provider_code(plan, bridge)).await?;
    steps.done("the initialisation of the Bridge", initialized).await?;
    let lens = match plan.version {
        ProviderVersion::V1 => init_code(&VRFLensV1::BYTECODE, &VRFLensV1::constructorCall { _provider: provider }),
        ProviderVersion::V2 => init_code(&VRFLensV2::BYTECODE, &VRFLensV2::constructorCall { _provider: provider }),
    };
    let lens = steps.create("the lens", "lens", lens).await?;
    let consumer = init_code(&VRFConsumer::BYTECODE, &VRFConsumer::constructorCall { _provider: provider });
    let consumer = steps.create("the consumer", "consumer", consumer).await?;
    Ok(Deployed { bridge, provider, lens, consumer })
}

fn provider_code(plan: &Deployment, bridge: Address) -> Bytes {
    let &Deployment { oracle_script_id, minimum_fee, counts: (min_count, ask_count), .. } = plan;
    match plan.version {
        ProviderVersion::V1 => init_code(
            &VRFProviderV1::BYTECODE,
            &VRFProviderV1::constructorCall {
                _minCount: min_count,
                _askCount: ask_count,
                _oracleScriptID: oracle_script_id,
                _bridge: bridge,
                _minimumFee: minimum_fee,
            },
        ),
        ProviderVersion::V2 => init_code(
            &VRFProviderV2::BYTECODE,
            &VRFProviderV2::constructorCall { _oracleScriptID: oracle_script_id, _bridge: bridge, _minimumFee: minimum_fee },
        ),
    }
}

/// The transactions of one deployment.
struct Steps<'a> {
    outbox: &'a Outbox,
    name: &'a str,
    patience: Duration,
}

impl Steps<'_> {
    async fn submit(&self, step: &str, mut intent: Intent) -> Result<IntentId, DeployError> {
        intent.key = format!("vrf-deploy/{}/{step}", self.name);
        intent.label = format!("{step} of the VRF contracts {}", self.name);
        Ok(self.outbox.submit(intent.with_confirmations(1)).await?)
    }

    async fn create(&self, what: &'static str, step: &str, code: Bytes) -> Result<Address, DeployError> {
        let id = self.submit(step, Intent::create(String::new(), code)).await?;
        let nonce = self.done(what, id).await?;
        Ok(self.outbox.account().create(nonce))
    }

    /// Waits until a transaction has succeeded, and returns its nonce.
    async fn done(&self, what: &'static str, id: IntentId) -> Result<u64, DeployError> {
        let waited_s = self.patience.as_secs();
        let waiting = tokio::time::timeout(self.patience, self.outbox.wait(id, Until::Included));
        let status = waiting.await.map_err(|_| DeployError::Slow { what, waited_s })??;
        match (&status.state, status.nonce) {
            (State::Included | State::Final, Some(nonce)) if status.success != Some(false) => Ok(nonce),
            _ => Err(DeployError::Failed { what, state: status.state }),
        }
    }
}
