// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Varint} from "./Varint.sol";

/// @title Paths in the IAVL tree of BandChain's oracle store
library IAVL {
    /// @dev An inner node on the way from the leaf to the root.
    struct Step {
        /// Whether the node we come from is the right child.
        bool isDataOnRight;
        uint8 subtreeHeight;
        uint256 subtreeSize;
        uint256 subtreeVersion;
        bytes32 siblingHash;
    }

    /// @notice The hash of a leaf. `version` is the height of the block that wrote it.
    function leaf(bytes memory key, bytes32 valueHash, uint256 version) internal pure returns (bytes32) {
        // Height 0, size 1 (as a signed varint: 2).
        return sha256(abi.encodePacked(hex"0002", Varint.signed(version), uint8(key.length), key, uint8(32), valueHash));
    }

    /// @notice Where a path ends that starts at `hash`.
    function root(bytes32 hash, Step[] memory path) internal pure returns (bytes32) {
        for (uint256 i = 0; i < path.length; ++i) {
            hash = parent(path[i], hash);
        }
        return hash;
    }

    function parent(Step memory step, bytes32 child) private pure returns (bytes32) {
        (bytes32 left, bytes32 right) =
            step.isDataOnRight ? (step.siblingHash, child) : (child, step.siblingHash);
        // The height as a signed varint of one byte, which a tree of BandChain never outgrows; 128 wraps to zero.
        return sha256(
            abi.encodePacked(
                step.subtreeHeight << 1,
                Varint.signed(step.subtreeSize),
                Varint.signed(step.subtreeVersion),
                uint8(32),
                left,
                uint8(32),
                right
            )
        );
    }
}
