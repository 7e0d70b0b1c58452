// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title What a provider needs of the Bridge
interface IBridge {
    /// @dev How BandChain ended a request. The order is that of the chain; a value beyond the last makes decoding
    /// revert.
    enum ResolveStatus {
        Open,
        Success,
        Failure,
        Expired
    }

    /// @dev A request and its result as BandChain's oracle module stores them under the request's id.
    struct Result {
        string clientID;
        uint64 oracleScriptID;
        bytes params;
        uint64 askCount;
        uint64 minCount;
        uint64 requestID;
        uint64 ansCount;
        uint64 requestTime;
        uint64 resolveTime;
        ResolveStatus resolveStatus;
        bytes result;
    }

    /// @notice Proves a result and remembers the block it was proven with, so that later proofs of the block are
    /// cheaper.
    function relayAndVerify(bytes calldata proof) external returns (Result memory);

    /// @notice Proves a result without touching the state.
    function verifyOracleResult(bytes calldata proof) external view returns (Result memory);
}
