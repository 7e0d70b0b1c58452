//! The Bridge and the provider in Rust: whether a proof is accepted, and if not, for exactly which reason.
//!
//! Nothing is sent before this has said yes. The order of the checks is the contracts' order, because the first that fails is
//! the reason that a user sees.

mod provider;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};

use crate::iavl;
use crate::merkle::sha256;
use crate::multistore::Layout;
use crate::oracle_result::{COUNT_KEY, OracleResult, store_key};
use crate::proof::{CountVerifyPart, RawMultiProof, RawProof, RelayPart, VerifyPart};
use crate::refusal::reason;
use crate::signature::Signers;
use crate::solidity::Memory;
use crate::validators::ValidatorSet;
use crate::vote::EncodedChainId;

pub use crate::refusal::Refusal;
pub use provider::{check_relay_v1, check_relay_v2, check_task, relay_proof_v1, relay_proof_v2};

/// What a verdict depends on beside the proof: the Bridge's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeState {
    /// `getAllValidatorPowers()`.
    pub validators: ValidatorSet,
    /// `encodedChainID()`.
    pub encoded_chain_id: EncodedChainId,
    /// `blockDetails`: the relayed blocks by height, as far as they are known. Only methods that relay look at them.
    pub blocks: BTreeMap<u64, BlockDetail>,
}

/// What the Bridge keeps of a relayed block. All zero: not relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BlockDetail {
    /// Root of the oracle store.
    pub oracle_state: B256,
    /// Unix seconds.
    pub time_second: u64,
    /// Nanoseconds within the second.
    pub time_nano_second: u32,
}

impl BridgeState {
    /// A Bridge that has relayed nothing yet.
    pub fn new(validators: ValidatorSet, encoded_chain_id: EncodedChainId) -> Self {
        Self { validators, encoded_chain_id, blocks: BTreeMap::new() }
    }

    /// What is kept of a block.
    pub fn block(&self, height: u64) -> BlockDetail {
        self.blocks.get(&height).copied().unwrap_or_default()
    }

    /// Keeps a block that a call has relayed.
    pub fn record(&mut self, relayed: Option<(u64, BlockDetail)>) {
        self.blocks.extend(relayed);
    }
}

/// What a method that relays returns, and what it leaves in the Bridge's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed<T> {
    /// The return value.
    pub value: T,
    /// The block it wrote; `None` if it was known already. See [`BridgeState::record`].
    pub block: Option<(u64, BlockDetail)>,
}

/// `verifyOracleResult(bytes)`: judges a proof without the Bridge's relayed blocks.
///
/// # Errors
/// The contract's reason.
pub fn verify_oracle_result(proof: &[u8], layout: Layout, bridge: &BridgeState) -> Result<OracleResult, Refusal> {
    Verifier::new(layout, bridge, &mut Signers::default()).oracle_result(proof)
}

/// `relayAndVerify(bytes)`.
///
/// # Errors
/// The contract's reason, which hides the reasons of its two inner calls.
pub fn relay_and_verify(proof: &[u8], layout: Layout, bridge: &BridgeState) -> Result<Relayed<OracleResult>, Refusal> {
    Verifier::new(layout, bridge, &mut Signers::default()).relay_and_verify(proof)
}

/// `relayAndMultiVerify(bytes)`.
///
/// # Errors
/// The contract's reason.
pub fn relay_and_multi_verify(proof: &[u8], layout: Layout, bridge: &BridgeState) -> Result<Relayed<Vec<OracleResult>>, Refusal> {
    Verifier::new(layout, bridge, &mut Signers::default()).relay_and_multi_verify(proof)
}

/// `relayAndVerifyCount(bytes)`: the block's time in Unix seconds and the number of requests.
///
/// # Errors
/// The contract's reason.
pub fn relay_and_verify_count(proof: &[u8], layout: Layout, bridge: &BridgeState) -> Result<Relayed<(u64, u64)>, Refusal> {
    Verifier::new(layout, bridge, &mut Signers::default()).relay_and_verify_count(proof)
}

/// A Bridge of one layout in one state, with a cache of recovered signers. The free functions of this module use a cache of
/// their own; whoever judges many proofs shares one.
#[derive(Debug)]
pub struct Verifier<'a> {
    layout: Layout,
    bridge: &'a BridgeState,
    signers: &'a mut Signers,
}

impl<'a> Verifier<'a> {
    /// A verifier.
    pub fn new(layout: Layout, bridge: &'a BridgeState, signers: &'a mut Signers) -> Self {
        Self { layout, bridge, signers }
    }

    /// `verifyOracleResult(bytes)`.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn oracle_result(&mut self, proof: &[u8]) -> Result<OracleResult, Refusal> {
        let (raw, memory) = RawProof::read(proof, Memory::CALL)?;
        let (relay, memory) = RelayPart::read(raw.relay, memory)?;
        // The height in this part is not looked at.
        let verify = VerifyPart::read(raw.verify, memory)?;
        let root = self.block_header(&relay)?;
        result_with_root(&root, verify)
    }

    /// `relayAndVerify(bytes)`.
    ///
    /// # Errors
    /// The contract's reason, which hides the reasons of its two inner calls: those are told by [`Verifier::relay_block`] and
    /// [`Verifier::oracle_data`].
    pub fn relay_and_verify(&mut self, proof: &[u8]) -> Result<Relayed<OracleResult>, Refusal> {
        let (raw, _) = RawProof::read(proof, Memory::CALL)?;
        let block = self.relay_or_fail(raw.relay)?;
        let value = self.oracle_data(raw.verify, block).map_err(|_| Refusal::Revert(reason::VERIFY_DATA_FAILED))?;
        Ok(Relayed { value, block })
    }

    /// `relayAndMultiVerify(bytes)`.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn relay_and_multi_verify(&mut self, proof: &[u8]) -> Result<Relayed<Vec<OracleResult>>, Refusal> {
        let raw = RawMultiProof::read(proof, Memory::CALL)?;
        let block = self.relay_or_fail(raw.relay)?;
        let results = raw.verify.iter().map(|verify| self.oracle_data(verify, block));
        let value: Result<Vec<_>, _> = results.collect();
        Ok(Relayed { value: value.map_err(|_| Refusal::Revert(reason::VERIFY_DATA_FAILED))?, block })
    }

    /// `relayAndVerifyCount(bytes)`: the block's time in Unix seconds and the number of requests.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn relay_and_verify_count(&mut self, proof: &[u8]) -> Result<Relayed<(u64, u64)>, Refusal> {
        let (raw, _) = RawProof::read(proof, Memory::CALL)?;
        let block = self.relay_or_fail(raw.relay)?;
        let value = self.requests_count(raw.verify, block).map_err(|_| Refusal::Revert(reason::VERIFY_COUNT_FAILED))?;
        Ok(Relayed { value, block })
    }

    fn relay_or_fail(&mut self, relay: &[u8]) -> Result<Option<(u64, BlockDetail)>, Refusal> {
        self.relay_block(relay).map_err(|_| Refusal::Revert(reason::RELAY_BLOCK_FAILED))
    }

    /// `relayBlock(...)` with these arguments: the block it writes. `None`: root, second and nanosecond of this height are stored
    /// already, and no signature is looked at.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn relay_block(&mut self, relay: &[u8]) -> Result<Option<(u64, BlockDetail)>, Refusal> {
        let (multi_store, parts) = RelayPart::peek(relay)?;
        let detail = BlockDetail {
            oracle_state: multi_store.oracle_root(),
            time_second: parts.time_second,
            time_nano_second: parts.time_nano_second,
        };
        if self.bridge.block(parts.height) == detail {
            return Ok(None);
        }
        let (part, _) = RelayPart::read(relay, Memory::CALL)?;
        self.block_header(&part)?;
        Ok(Some((parts.height, detail)))
    }

    /// `verifyOracleData(...)` with these arguments, after `relayed` was written.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn oracle_data(&self, verify: &[u8], relayed: Option<(u64, BlockDetail)>) -> Result<OracleResult, Refusal> {
        let height = VerifyPart::peek(verify)?;
        let root = self.root_at(height, relayed)?.oracle_state;
        result_with_root(&root, VerifyPart::read(verify, Memory::CALL)?)
    }

    /// `verifyRequestsCount(...)` with these arguments, after `relayed` was written: the block's time in Unix seconds and the
    /// number of requests.
    ///
    /// # Errors
    /// The contract's reason.
    pub fn requests_count(&self, verify: &[u8], relayed: Option<(u64, BlockDetail)>) -> Result<(u64, u64), Refusal> {
        let part = CountVerifyPart::read(verify, Memory::CALL)?;
        let detail = self.root_at(part.block_height, relayed)?;
        let count = part.count.wrapping_to::<u64>();
        let value = sha256(&[&count.to_be_bytes()]);
        data_proof(&detail.oracle_state, part.version, COUNT_KEY, &value, &part.path)?;
        Ok((detail.time_second, count))
    }

    fn root_at(&self, height: U256, relayed: Option<(u64, BlockDetail)>) -> Result<BlockDetail, Refusal> {
        let known = u64::try_from(height).ok().map(|height| match relayed {
            Some((written, detail)) if written == height => detail,
            _ => self.bridge.block(height),
        });
        known.filter(|detail| !detail.oracle_state.is_zero()).ok_or(Refusal::Revert(reason::NO_STATE))
    }

    /// Whether enough validators signed the block: the root of its oracle store.
    fn block_header(&mut self, relay: &RelayPart) -> Result<B256, Refusal> {
        let app_hash = relay.multi_store.app_hash(self.layout);
        let block_hash = relay.merkle_parts.block_hash(&app_hash)?;
        relay.common.check()?;
        let mut last = Address::ZERO;
        let mut sum = U256::ZERO;
        for signature in &relay.signatures {
            signature.check()?;
            let digest = relay.common.digest(&block_hash, &signature.encoded_timestamp, &self.bridge.encoded_chain_id);
            let signer = self.signers.signer(&digest, signature).unwrap_or_default();
            if signer <= last {
                return Err(Refusal::Revert(reason::SIGNER_ORDER));
            }
            if let Some(power) = self.bridge.validators.power(&signer) {
                sum = sum.checked_add(power).ok_or(Refusal::ARITHMETIC)?;
            }
            last = signer;
        }
        let (three, two) = (U256::from(3), U256::from(2));
        let sum = sum.checked_mul(three).ok_or(Refusal::ARITHMETIC)?;
        let total = self.bridge.validators.total().checked_mul(two).ok_or(Refusal::ARITHMETIC)?;
        if sum <= total {
            return Err(Refusal::Revert(reason::INSUFFICIENT_SIGNATURES));
        }
        Ok(relay.multi_store.oracle_root())
    }
}

fn result_with_root(root: &B256, verify: VerifyPart) -> Result<OracleResult, Refusal> {
    let key = store_key(verify.result.request_id);
    data_proof(root, verify.version, &key, &verify.result.hash(), &verify.path)?;
    Ok(verify.result)
}

fn data_proof(root: &B256, version: U256, key: &[u8], value_hash: &B256, path: &[iavl::MerklePath]) -> Result<(), Refusal> {
    let leaf = iavl::leaf_hash(key, value_hash, version)?;
    if iavl::climb(leaf, path)? == *root { Ok(()) } else { Err(Refusal::Revert(reason::DATA_PROOF)) }
}

/// The layout under which a signature of the block is one of the Bridge's validators. `None` if there is none under any: the
/// Bridge's validators or chain id are not those of this block, or its chain has another layout.
///
/// One known signer is proof enough: under a wrong layout the block hash differs and strangers are recovered.
pub fn detect_layout(relay: &RelayPart, bridge: &BridgeState) -> Option<Layout> {
    detect_layout_with(relay, &bridge.encoded_chain_id, &bridge.validators, &mut Signers::default())
}

/// The same with a shared cache of recovered signers.
pub fn detect_layout_with(
    relay: &RelayPart,
    chain_id: &EncodedChainId,
    validators: &ValidatorSet,
    signers: &mut Signers,
) -> Option<Layout> {
    let hashes = Layout::ALL.map(|layout| (layout, relay.merkle_parts.block_hash(&relay.multi_store.app_hash(layout))));
    relay.signatures.iter().find_map(|signature| {
        hashes.iter().find_map(|(layout, hash)| {
            let digest = relay.common.digest(hash.as_ref().ok()?, &signature.encoded_timestamp, chain_id);
            let signer = signers.signer(&digest, signature)?;
            validators.contains(&signer).then_some(*layout)
        })
    })
}
