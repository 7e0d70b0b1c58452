// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title The bytes that a BandChain validator signs for a block
/// @dev A vote is the same for all validators but for its time: prefix (type, height, round), block hash, suffix (part
/// set), time, chain id. Its length stands before it in one byte, which is right for votes of up to 127 bytes.
library Vote {
    /// @dev What all votes for a block share, without the block hash between the two.
    struct CommonPart {
        bytes signedDataPrefix;
        bytes signedDataSuffix;
    }

    struct Signature {
        bytes32 r;
        bytes32 s;
        uint8 v;
        bytes encodedTimestamp;
    }

    /// @notice The part of the vote before the time. The sizes are those that a precommit can have: with and without a
    /// round, one byte for the number of parts.
    function common(CommonPart memory part, bytes32 blockHash) internal pure returns (bytes memory) {
        uint256 prefixSize = part.signedDataPrefix.length;
        require(prefixSize == 15 || prefixSize == 24, "CommonEncodedVotePart: Invalid prefix's size");
        require(part.signedDataSuffix.length == 38, "CommonEncodedVotePart: Invalid suffix's size");
        return abi.encodePacked(part.signedDataPrefix, blockHash, part.signedDataSuffix);
    }

    /// @notice Who signed the vote with this common part. Zero or a stranger if the signature is of another vote.
    function signer(Signature memory signature, bytes memory commonPart, bytes memory encodedChainID)
        internal
        pure
        returns (address)
    {
        bytes memory timestamp = signature.encodedTimestamp;
        uint256 timestampSize = timestamp.length;
        require(timestampSize >= 6 && timestampSize <= 12, "TMSignature: Invalid timestamp's size");
        uint256 size = commonPart.length + 2 + timestampSize + encodedChainID.length;
        bytes32 digest = sha256(
            abi.encodePacked(uint8(size), commonPart, hex"2a", uint8(timestampSize), timestamp, encodedChainID)
        );
        return ecrecover(digest, signature.v, signature.r, signature.s);
    }
}
