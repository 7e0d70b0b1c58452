// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IBridge} from "./IBridge.sol";
import {Varint} from "./Varint.sol";

/// @title The bytes that BandChain stores for a result
/// @dev Protobuf: fields in ascending order, those that are zero or empty left out.
library ResultCodec {
    /// @notice The stored value. Its key is 0xff and the request id in eight bytes.
    function encode(IBridge.Result memory result) internal pure returns (bytes memory) {
        return abi.encodePacked(request(result), outcome(result));
    }

    /// @dev Fields 1 to 6.
    function request(IBridge.Result memory result) private pure returns (bytes memory) {
        return abi.encodePacked(
            data(0x0a, bytes(result.clientID)),
            number(0x10, result.oracleScriptID),
            data(0x1a, result.params),
            number(0x20, result.askCount),
            number(0x28, result.minCount),
            number(0x30, result.requestID)
        );
    }

    /// @dev Fields 7 to 11.
    function outcome(IBridge.Result memory result) private pure returns (bytes memory) {
        return abi.encodePacked(
            number(0x38, result.ansCount),
            number(0x40, result.requestTime),
            number(0x48, result.resolveTime),
            number(0x50, uint64(result.resolveStatus)),
            data(0x5a, result.result)
        );
    }

    function number(uint8 tag, uint64 value) private pure returns (bytes memory) {
        return value == 0 ? bytes("") : abi.encodePacked(tag, Varint.unsigned(value));
    }

    function data(uint8 tag, bytes memory value) private pure returns (bytes memory) {
        return value.length == 0 ? value : abi.encodePacked(tag, Varint.unsigned(value.length), value);
    }
}
