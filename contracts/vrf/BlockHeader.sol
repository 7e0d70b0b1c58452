// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Merkle} from "./Merkle.sol";
import {Varint} from "./Varint.sol";

/// @title The block hash of a CometBFT chain from the parts that a proof carries
/// @dev The hash is the root of a Merkle tree over the 14 fields of the header. Height, time and app hash are
/// computed; of everything else the proof carries the hash of the largest subtree that holds none of the three.
library BlockHeader {
    struct MerkleParts {
        /// Fields 0 and 1.
        bytes32 versionAndChainIdHash;
        /// Field 2.
        uint64 height;
        /// Field 3.
        uint64 timeSecond;
        uint32 timeNanoSecondFraction;
        /// Fields 4 to 7.
        bytes32 lastBlockIdAndOther;
        /// Fields 8 and 9. The app hash is field 10.
        bytes32 nextValidatorHashAndConsensusHash;
        /// Field 11.
        bytes32 lastResultsHash;
        /// Fields 12 and 13.
        bytes32 evidenceAndProposerHash;
    }

    /// @notice The hash of the block whose header has these parts and this app hash.
    function blockHash(MerkleParts memory parts, bytes32 appHash) internal view returns (bytes32) {
        bytes32 height = Merkle.leaf(abi.encodePacked(hex"08", Varint.unsigned(parts.height)));
        bytes32 time = Merkle.leaf(Varint.time(parts.timeSecond, parts.timeNanoSecondFraction));
        bytes32 state = Merkle.leaf(abi.encodePacked(hex"0a20", appHash));
        bytes32 fields0To7 =
            Merkle.inner(Merkle.inner(parts.versionAndChainIdHash, Merkle.inner(height, time)), parts.lastBlockIdAndOther);
        bytes32 fields8To11 =
            Merkle.inner(parts.nextValidatorHashAndConsensusHash, Merkle.inner(state, parts.lastResultsHash));
        return Merkle.inner(fields0To7, Merkle.inner(fields8To11, parts.evidenceAndProposerHash));
    }
}
