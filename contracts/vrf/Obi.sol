// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Decoding of OBI, the encoding that BandChain's oracle scripts use
/// @dev Numbers are big-endian of fixed width, byte strings follow their length in four bytes. Everything must be
/// consumed.
library Obi {
    struct Reader {
        bytes data;
        uint256 offset;
    }

    function reader(bytes memory data) internal pure returns (Reader memory) {
        return Reader(data, 0);
    }

    /// @notice Reverts if something is left.
    function finish(Reader memory self) internal pure {
        require(self.offset == self.data.length, "DATA_DECODE_NOT_FINISHED");
    }

    function readUint64(Reader memory self) internal pure returns (uint64) {
        return uint64(readNumber(self, 8));
    }

    function readBytes(Reader memory self) internal pure returns (bytes memory value) {
        uint256 length = readNumber(self, 4);
        uint256 start = advance(self, length);
        bytes memory data = self.data;
        value = new bytes(length);
        assembly ("memory-safe") {
            let source := add(add(data, 0x20), start)
            let target := add(value, 0x20)
            for { let i := 0 } lt(i, length) { i := add(i, 0x20) } { mstore(add(target, i), mload(add(source, i))) }
            // The last word may hold bytes beyond the value; what follows it must be zero.
            if and(length, 0x1f) { mstore(add(target, length), 0) }
        }
    }

    function readBytes32(Reader memory self) internal pure returns (bytes32) {
        bytes memory value = readBytes(self);
        require(value.length == 32, "DATA_DECODE_INVALID_SIZE_FOR_BYTES32");
        return bytes32(value);
    }

    function readAddress(Reader memory self) internal pure returns (address) {
        bytes memory value = readBytes(self);
        require(value.length == 20, "DATA_DECODE_INVALID_SIZE_FOR_ADDRESS");
        return address(bytes20(value));
    }

    /// @dev `size` bytes, at most 32.
    function readNumber(Reader memory self, uint256 size) private pure returns (uint256) {
        uint256 start = advance(self, size);
        bytes memory data = self.data;
        uint256 word;
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), start))
        }
        return word >> (256 - 8 * size);
    }

    /// @return start Where the next `size` bytes begin.
    function advance(Reader memory self, uint256 size) private pure returns (uint256 start) {
        start = self.offset;
        require(size <= self.data.length - start, "Obi: Out of range");
        self.offset = start + size;
    }
}
