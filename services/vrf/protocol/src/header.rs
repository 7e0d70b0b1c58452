//! Block headers: fourteen leaves, the eight parts that the Bridge gets, and the block hash.

use alloy_primitives::{B256, Bytes, U256};

use crate::messages::tendermint;
use crate::varint::{self, push_bytes, push_bytes_field, push_field};
use crate::{Refusal, merkle, vote};

/// A CometBFT header. Hashes are bytes, because some are empty at the first block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Version of the block format.
    pub version_block: u64,
    /// Version of the application.
    pub version_app: u64,
    /// Name of the chain.
    pub chain_id: String,
    /// Height.
    pub height: u64,
    /// Unix seconds.
    pub time_second: u64,
    /// Nanoseconds within the second.
    pub time_nano: u32,
    /// The block before.
    pub last_block_id: BlockId,
    /// Hash of its signatures.
    pub last_commit_hash: Bytes,
    /// Hash of the transactions.
    pub data_hash: Bytes,
    /// Hash of the validators.
    pub validators_hash: Bytes,
    /// Hash of the next block's validators.
    pub next_validators_hash: Bytes,
    /// Hash of the consensus parameters.
    pub consensus_hash: Bytes,
    /// Root of the state after the block before.
    pub app_hash: Bytes,
    /// Hash of the results of the block before.
    pub last_results_hash: Bytes,
    /// Hash of the evidence.
    pub evidence_hash: Bytes,
    /// 20 bytes.
    pub proposer_address: Bytes,
}

/// Hash of a block and of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockId {
    /// The block; empty before the first.
    pub hash: Bytes,
    /// Number of parts.
    pub parts_total: u32,
    /// Root of the parts.
    pub parts_hash: Bytes,
}

impl Header {
    /// The fourteen leaves of the header's tree. An empty value is an empty leaf.
    pub fn leaves(&self) -> [Vec<u8>; 14] {
        let mut version = Vec::new();
        push_field(&mut version, 1, self.version_block);
        push_field(&mut version, 2, self.version_app);
        let mut height = Vec::new();
        push_field(&mut height, 1, self.height);
        [
            version,
            wrapped(self.chain_id.as_bytes()),
            height,
            vote::timestamp(self.time_second, self.time_nano),
            self.last_block_id.encode(),
            wrapped(&self.last_commit_hash),
            wrapped(&self.data_hash),
            wrapped(&self.validators_hash),
            wrapped(&self.next_validators_hash),
            wrapped(&self.consensus_hash),
            wrapped(&self.app_hash),
            wrapped(&self.last_results_hash),
            wrapped(&self.evidence_hash),
            wrapped(&self.proposer_address),
        ]
    }

    /// The block hash.
    pub fn hash(&self) -> B256 {
        merkle::root(&self.leaves())
    }

    /// What the Bridge gets beside the AppHash.
    pub fn merkle_parts(&self) -> MerkleParts {
        let [version, chain_id, _, _, d, e, f, g, h, i, _, results, evidence, proposer] = self.leaves();
        MerkleParts {
            version_and_chain_id_hash: merkle::root(&[version, chain_id]),
            height: self.height,
            time_second: self.time_second,
            time_nano_second: self.time_nano,
            last_block_id_and_other: merkle::root(&[d, e, f, g]),
            next_validator_hash_and_consensus_hash: merkle::root(&[h, i]),
            last_results_hash: merkle::leaf(&results),
            evidence_and_proposer_hash: merkle::root(&[evidence, proposer]),
        }
    }
}

impl BlockId {
    /// `{1 hash, 2 part_set_header}`; field 2 is always there.
    fn encode(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        push_field(&mut parts, 1, u64::from(self.parts_total));
        push_bytes_field(&mut parts, 2, &self.parts_hash);
        let mut out = Vec::new();
        push_bytes_field(&mut out, 1, &self.hash);
        push_bytes(&mut out, 2, &parts);
        out
    }
}

/// `{1 bytes}`, or nothing for nothing.
fn wrapped(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 2);
    push_bytes_field(&mut out, 1, value);
    out
}

/// What is needed beside the AppHash to compute the block hash: the contract's struct, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MerkleParts {
    /// Root of leaves 0 and 1.
    pub version_and_chain_id_hash: B256,
    /// Height.
    pub height: u64,
    /// Unix seconds.
    pub time_second: u64,
    /// Nanoseconds within the second.
    pub time_nano_second: u32,
    /// Root of leaves 4 to 7.
    pub last_block_id_and_other: B256,
    /// Root of leaves 8 and 9.
    pub next_validator_hash_and_consensus_hash: B256,
    /// Leaf 11.
    pub last_results_hash: B256,
    /// Root of leaves 12 and 13.
    pub evidence_and_proposer_hash: B256,
}

impl MerkleParts {
    /// The block hash, as the Bridge computes it.
    ///
    /// # Errors
    /// Height zero and second zero make the contract panic with 0x11.
    pub fn block_hash(&self, app_hash: &B256) -> Result<B256, Refusal> {
        let height = varint::unsigned(U256::from(self.height))?;
        let height = merkle::sha256(&[&[0, 8], height.as_ref()]);
        let time = merkle::leaf(&vote::encode_time(self.time_second, self.time_nano_second)?);
        let app_hash = merkle::sha256(&[&[0, 10, 32], app_hash.as_slice()]);
        let height_and_time = merkle::inner(&height, &time);
        let first = merkle::inner(&self.version_and_chain_id_hash, &height_and_time);
        let left = merkle::inner(&first, &self.last_block_id_and_other);
        let state = merkle::inner(&app_hash, &self.last_results_hash);
        let third = merkle::inner(&self.next_validator_hash_and_consensus_hash, &state);
        let right = merkle::inner(&third, &self.evidence_and_proposer_hash);
        Ok(merkle::inner(&left, &right))
    }
}

/// A header that cannot be one of a running chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header has no or a negative {0}")]
pub struct HeaderError(pub &'static str);

impl TryFrom<tendermint::Header> for Header {
    type Error = HeaderError;

    fn try_from(message: tendermint::Header) -> Result<Self, HeaderError> {
        let version = message.version.unwrap_or_default();
        let time = message.time.ok_or(HeaderError("time"))?;
        let last = message.last_block_id.unwrap_or_default();
        let parts = last.part_set_header.unwrap_or_default();
        Ok(Self {
            version_block: version.block,
            version_app: version.app,
            chain_id: message.chain_id,
            height: u64::try_from(message.height).map_err(|_| HeaderError("height"))?,
            time_second: u64::try_from(time.seconds).map_err(|_| HeaderError("time"))?,
            time_nano: u32::try_from(time.nanos).map_err(|_| HeaderError("time"))?,
            last_block_id: BlockId { hash: last.hash.into(), parts_total: parts.total, parts_hash: parts.hash.into() },
            last_commit_hash: message.last_commit_hash.into(),
            data_hash: message.data_hash.into(),
            validators_hash: message.validators_hash.into(),
            next_validators_hash: message.next_validators_hash.into(),
            consensus_hash: message.consensus_hash.into(),
            app_hash: message.app_hash.into(),
            last_results_hash: message.last_results_hash.into(),
            evidence_hash: message.evidence_hash.into(),
            proposer_address: message.proposer_address.into(),
        })
    }
}

impl From<&Header> for tendermint::Header {
    /// Heights and times beyond 63 bits are cut.
    fn from(header: &Header) -> Self {
        let last = &header.last_block_id;
        Self {
            version: Some(tendermint::Consensus { block: header.version_block, app: header.version_app }),
            chain_id: header.chain_id.clone(),
            height: i64::try_from(header.height).unwrap_or(i64::MAX),
            time: Some(crate::messages::Timestamp {
                seconds: i64::try_from(header.time_second).unwrap_or(i64::MAX),
                nanos: i32::try_from(header.time_nano).unwrap_or(i32::MAX),
            }),
            last_block_id: Some(tendermint::BlockId {
                hash: last.hash.to_vec(),
                part_set_header: Some(tendermint::PartSetHeader { total: last.parts_total, hash: last.parts_hash.to_vec() }),
            }),
            last_commit_hash: header.last_commit_hash.to_vec(),
            data_hash: header.data_hash.to_vec(),
            validators_hash: header.validators_hash.to_vec(),
            next_validators_hash: header.next_validators_hash.to_vec(),
            consensus_hash: header.consensus_hash.to_vec(),
            app_hash: header.app_hash.to_vec(),
            last_results_hash: header.last_results_hash.to_vec(),
            evidence_hash: header.evidence_hash.to_vec(),
            proposer_address: header.proposer_address.to_vec(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn header(seed: u64, height: u64, second: u64, nano: u32) -> Header {
        let hash = |number: u8| Bytes::from(alloy_primitives::keccak256([&seed.to_be_bytes()[..], &[number]].concat()).to_vec());
        Header {
            version_block: 11,
            version_app: seed % 2,
            chain_id: "bandchain-sim".into(),
            height,
            time_second: second,
            time_nano: nano,
            last_block_id: BlockId { hash: hash(0), parts_total: 1, parts_hash: hash(1) },
            last_commit_hash: hash(2),
            data_hash: hash(3),
            validators_hash: hash(4),
            next_validators_hash: hash(5),
            consensus_hash: hash(6),
            app_hash: hash(7),
            last_results_hash: hash(8),
            evidence_hash: hash(9),
            proposer_address: hash(10).slice(..20),
        }
    }

    proptest! {
        #[test]
        fn parts_and_leaves_give_one_hash(seed: u64, height in 1u64.., second in 1u64.., nano in 0u32..1_000_000_000) {
            let header = header(seed, height, second, nano);
            let app_hash = B256::from_slice(&header.app_hash);
            prop_assert_eq!(header.merkle_parts().block_hash(&app_hash), Ok(header.hash()));
        }

        #[test]
        fn messages_carry_everything(seed: u64, height in 1u64..1 << 60, second in 1u64..1 << 40, nano in 0u32..1_000_000_000) {
            let header = header(seed, height, second, nano);
            prop_assert_eq!(Header::try_from(tendermint::Header::from(&header)), Ok(header));
        }
    }

    #[test]
    fn height_and_second_zero_cannot_be_hashed_by_the_contract() {
        for (height, second) in [(0, 1), (1, 0)] {
            let parts = header(1, height, second, 5).merkle_parts();
            assert_eq!(parts.block_hash(&B256::ZERO), Err(Refusal::ARITHMETIC));
        }
    }

    #[test]
    fn the_first_block_has_no_block_before() {
        let header = Header { height: 1, ..Header::default() };
        assert_eq!(header.leaves()[4], [0x12, 0]);
        assert!(header.leaves()[5].is_empty());
    }
}
