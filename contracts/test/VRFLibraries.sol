// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IBridge} from "../vrf/IBridge.sol";
import {Merkle} from "../vrf/Merkle.sol";
import {ResultCodec} from "../vrf/ResultCodec.sol";
import {Varint} from "../vrf/Varint.sol";
import {VRFDecoder} from "../vrf/VRFDecoder.sol";

/// @title The libraries of the Bridge and the providers, one function at a time
/// @notice Tests only.
contract VRFLibraries {
    function varintUnsigned(uint256 value) external pure returns (bytes memory) {
        return Varint.unsigned(value);
    }

    function varintSigned(uint256 value) external pure returns (bytes memory) {
        return Varint.signed(value);
    }

    function encodeTime(uint64 second, uint32 nanoSecond) external pure returns (bytes memory) {
        return Varint.time(second, nanoSecond);
    }

    function merkleLeaf(bytes calldata item) external pure returns (bytes32) {
        return Merkle.leaf(item);
    }

    function merkleInner(bytes32 left, bytes32 right) external view returns (bytes32) {
        return Merkle.inner(left, right);
    }

    function encodeResult(IBridge.Result calldata result) external pure returns (bytes memory) {
        return ResultCodec.encode(result);
    }

    function decodeParams(bytes calldata params) external pure returns (uint64 time, address worker, bytes32 seed) {
        (seed, time, worker) = VRFDecoder.decodeParams(params);
    }

    function decodeResultV1(bytes calldata encoded) external pure returns (bytes memory proof, bytes memory result) {
        return VRFDecoder.decodeResultV1(encoded);
    }

    function decodeResultV2(bytes calldata encoded) external pure returns (bytes32) {
        return VRFDecoder.decodeResultV2(encoded);
    }
}
