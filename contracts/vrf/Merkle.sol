// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title The Merkle tree of RFC 6962 over SHA-256, as CometBFT uses it
library Merkle {
    /// @notice The hash of an item.
    function leaf(bytes memory item) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(hex"00", item));
    }

    /// @notice The hash of two neighbours.
    /// @dev sha256(0x01 || left || right). Written out because a proof needs it two dozen times, and this form leaves
    /// nothing in memory.
    function inner(bytes32 left, bytes32 right) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore8(input, 1)
            mstore(add(input, 0x01), left)
            mstore(add(input, 0x21), right)
            // Fails only without gas, and then there is none to go on with a wrong hash either.
            if iszero(staticcall(gas(), 2, input, 0x41, 0x00, 0x20)) { revert(0x00, 0x00) }
            hash := mload(0x00)
        }
    }
}
