// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Obi} from "./Obi.sol";

/// @title Input and output of the VRF oracle scripts
library VRFDecoder {
    using Obi for Obi.Reader;

    /// @notice The request's parameters: {seed:[u8],time:u64,worker_address:[u8]}.
    function decodeParams(bytes memory params) internal pure returns (bytes32 seed, uint64 time, address worker) {
        Obi.Reader memory input = Obi.reader(params);
        seed = input.readBytes32();
        time = input.readUint64();
        worker = input.readAddress();
        input.finish();
    }

    /// @notice What the first script returns: {proof:[u8],result:[u8]}.
    function decodeResultV1(bytes memory encoded) internal pure returns (bytes memory proof, bytes memory result) {
        Obi.Reader memory input = Obi.reader(encoded);
        proof = input.readBytes();
        result = input.readBytes();
        input.finish();
    }

    /// @notice What the second script returns: {result:[u8]}. Short values are filled up with zeros on the right, long
    /// ones are cut.
    function decodeResultV2(bytes memory encoded) internal pure returns (bytes32 result) {
        Obi.Reader memory input = Obi.reader(encoded);
        result = bytes32(input.readBytes());
        input.finish();
    }
}
