// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Variable-length integers of protobuf and of the IAVL tree
/// @dev Zero has no encoding here and ends in Panic(0x11), which callers can see: a version, a size, a height or a
/// second of zero makes the whole proof revert that way. It never occurs on the real chain.
library Varint {
    /// @notice Seven bits a byte, the lowest first; every byte but the last has its top bit set.
    function unsigned(uint256 value) internal pure returns (bytes memory encoded) {
        if (value == 0) {
            panicWithOverflow();
        }
        assembly ("memory-safe") {
            encoded := mload(0x40)
            let start := add(encoded, 0x20)
            let end := start
            for {} gt(value, 0x7f) {} {
                mstore8(end, or(value, 0x80))
                value := shr(7, value)
                end := add(end, 1)
            }
            mstore8(end, value)
            end := add(end, 1)
            mstore(encoded, sub(end, start))
            mstore(0x40, and(add(end, 0x1f), not(0x1f)))
        }
    }

    /// @notice The zig-zag form of a number that is not negative: twice the number.
    function signed(uint256 value) internal pure returns (bytes memory) {
        return unsigned(value * 2);
    }

    /// @notice The content of a protobuf timestamp: seconds as field 1, and nanoseconds as field 2 unless they are
    /// zero.
    function time(uint64 second, uint32 nanoSecond) internal pure returns (bytes memory) {
        bytes memory encoded = abi.encodePacked(hex"08", unsigned(second));
        return nanoSecond == 0 ? encoded : abi.encodePacked(encoded, hex"10", unsigned(nanoSecond));
    }

    function panicWithOverflow() private pure {
        assembly ("memory-safe") {
            mstore(0x00, shl(224, 0x4e487b71))
            mstore(0x04, 0x11)
            revert(0x00, 0x24)
        }
    }
}
