// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title What a provider calls with a random value
interface IVRFConsumer {
    /// @param seed The client seed of the request.
    /// @param time The time of the block with the request, in Unix seconds.
    /// @param result The random value.
    function consume(string calldata seed, uint64 time, bytes32 result) external;
}
