//! Puts the contracts where the record has them.
//!
//! A consumer's address goes into the seed of its tasks, and the seed is signed in the proofs. So the contracts cannot stand just
//! anywhere: they are made at some other address, and their code and storage are put at the recorded one.

use alloy_primitives::{Address, Bytes, U256, address, keccak256};
use alloy_sol_types::SolCall;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use windlass_contracts::init_code;
use windlass_contracts::test::fixed_provider_v1::FixedWorld::World as WorldV1;
use windlass_contracts::test::fixed_provider_v2::FixedWorld::World as WorldV2;
use windlass_contracts::test::{FailingConsumer, FixedProviderV1, FixedProviderV2};
use windlass_contracts::vrf::bridge::ValidatorPowers::ValidatorWithPower;
use windlass_contracts::vrf::{Bridge, BridgeV2Layout, VRFConsumer, VRFLensV1, VRFLensV2};
use windlass_vrf_protocol::multistore::Layout;
use windlass_vrf_protocol::task::ProviderVersion;
use windlass_vrf_protocol::validators::ValidatorSet;
use windlass_vrf_protocol::vote::EncodedChainId;

use crate::Chain;

/// The first account of the chain on which the vectors were recorded. It made the contracts and owns them.
pub(crate) const OWNER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

/// What a provider takes for time, block hash and chain id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) time: u64,
    pub(crate) block_hash: alloy_primitives::B256,
    pub(crate) chain_id: U256,
}

/// A provider in a world that stands still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Provider {
    pub(crate) version: ProviderVersion,
    pub(crate) bridge: Address,
    pub(crate) oracle_script_id: u64,
    pub(crate) minimum_fee: U256,
    pub(crate) min_count: u8,
    pub(crate) ask_count: u8,
    pub(crate) world: World,
}

/// Whoever makes the contracts that are then put elsewhere: nobody whose nonces could lead to a recorded address.
fn maker() -> Address {
    Address::from_word(keccak256("maker of contracts"))
}

/// Creates a contract and puts its code and the given slots at `target`.
async fn put(chain: &Chain, target: Address, code: &Bytes, slots: &[u64]) -> anyhow::Result<()> {
    let made = chain.create(maker(), code).await?;
    let code: Bytes = chain.ask("eth_getCode", json!([made, "latest"])).await?;
    chain.ask::<Value>("anvil_setCode", json!([target, code])).await?;
    for slot in slots {
        let slot = U256::from(*slot);
        let word: U256 = chain.ask("eth_getStorageAt", json!([made, slot, "latest"])).await?;
        set_slot(chain, target, slot, word).await?;
    }
    Ok(())
}

/// Writes a word of storage.
pub(crate) async fn set_slot(chain: &Chain, contract: Address, slot: U256, word: U256) -> anyhow::Result<()> {
    let word = format!("{word:#066x}");
    chain.ask::<Value>("anvil_setStorageAt", json!([contract, slot, word])).await?;
    Ok(())
}

/// Creates a Bridge, wherever it comes to stand, and sets it up.
pub(crate) async fn make_bridge(
    chain: &Chain,
    layout: Layout,
    validators: &ValidatorSet,
    chain_id: &EncodedChainId,
) -> anyhow::Result<Address> {
    let bridge = chain.create(maker(), bridge_code(layout)).await.context("the Bridge")?;
    initialize(chain, bridge, validators, chain_id).await?;
    Ok(bridge)
}

pub(crate) fn bridge_code(layout: Layout) -> &'static Bytes {
    match layout {
        Layout::V3 => &Bridge::BYTECODE,
        Layout::V2 => &BridgeV2Layout::BYTECODE,
    }
}

/// The call that sets a Bridge up.
pub(crate) fn initialize_call(validators: impl IntoIterator<Item = (Address, U256)>, chain_id: &EncodedChainId) -> Bytes {
    let validators = validators.into_iter().map(|(addr, power)| ValidatorWithPower { addr, power }).collect();
    Bridge::initializeCall { validators, _encodedChainID: chain_id.0.clone() }.abi_encode().into()
}

async fn initialize(chain: &Chain, bridge: Address, validators: &ValidatorSet, chain_id: &EncodedChainId) -> anyhow::Result<()> {
    let receipt = chain.execute(OWNER, Some(bridge), &initialize_call(validators.iter(), chain_id)).await?;
    ensure!(receipt.succeeded(), "the Bridge cannot be set up");
    Ok(())
}

/// Puts a Bridge at its recorded address.
pub(crate) async fn put_bridge(
    chain: &Chain,
    target: Address,
    layout: Layout,
    validators: &ValidatorSet,
    chain_id: &EncodedChainId,
) -> anyhow::Result<()> {
    put(chain, target, bridge_code(layout), &[]).await.context("the Bridge")?;
    initialize(chain, target, validators, chain_id).await
}

/// Puts a provider at its recorded address.
pub(crate) async fn put_provider(chain: &Chain, target: Address, provider: Provider) -> anyhow::Result<()> {
    let Provider { bridge, oracle_script_id, minimum_fee, min_count, ask_count, world, .. } = provider;
    let World { time, block_hash, chain_id } = world;
    let code = match provider.version {
        ProviderVersion::V1 => {
            let arguments = FixedProviderV1::constructorCall {
                minCount_: min_count,
                askCount_: ask_count,
                oracleScriptID_: oracle_script_id,
                bridge_: bridge,
                minimumFee_: minimum_fee,
                world: WorldV1 { time, blockHash: block_hash, chainID: chain_id },
            };
            init_code(&FixedProviderV1::BYTECODE, &arguments)
        }
        ProviderVersion::V2 => {
            let arguments = FixedProviderV2::constructorCall {
                oracleScriptID_: oracle_script_id,
                bridge_: bridge,
                minimumFee_: minimum_fee,
                world: WorldV2 { time, blockHash: block_hash, chainID: chain_id },
            };
            init_code(&FixedProviderV2::BYTECODE, &arguments)
        }
    };
    put(chain, target, &code, &[1, 2, 3, 4]).await.context("the provider")?;
    set_slot(chain, target, U256::ZERO, U256::from_be_bytes(OWNER.into_word().0)).await
}

/// Puts a lens at its recorded address.
pub(crate) async fn put_lens(chain: &Chain, target: Address, version: ProviderVersion, provider: Address) -> anyhow::Result<()> {
    let code = match version {
        ProviderVersion::V1 => init_code(&VRFLensV1::BYTECODE, &VRFLensV1::constructorCall { _provider: provider }),
        ProviderVersion::V2 => init_code(&VRFLensV2::BYTECODE, &VRFLensV2::constructorCall { _provider: provider }),
    };
    put(chain, target, &code, &[1]).await.context("the lens")
}

/// Puts a consumer at its recorded address.
pub(crate) async fn put_consumer(chain: &Chain, target: Address, provider: Address) -> anyhow::Result<()> {
    let code = init_code(&VRFConsumer::BYTECODE, &VRFConsumer::constructorCall { _provider: provider });
    put(chain, target, &code, &[]).await.context("the consumer")
}

/// Puts a consumer that can be told to fail at a recorded address.
pub(crate) async fn put_failing_consumer(chain: &Chain, target: Address, provider: Address) -> anyhow::Result<()> {
    let code = init_code(&FailingConsumer::BYTECODE, &FailingConsumer::constructorCall { provider_: provider });
    put(chain, target, &code, &[]).await.context("the failing consumer")
}
