// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IVRFConsumer} from "./IVRFConsumer.sol";

/// @title What a consumer asks its provider for
interface IVRFProvider {
    function requestRandomData(string calldata clientSeed) external payable;
}

/// @title The part that every consumer needs: it takes values from its provider only
/// @notice A consumer that reverts keeps its own task from being resolved, so `useValue` should do little and not fail.
abstract contract VRFConsumerBase is IVRFConsumer {
    IVRFProvider public immutable provider;

    constructor(IVRFProvider _provider) {
        provider = _provider;
    }

    function consume(string calldata seed, uint64 time, bytes32 result) external {
        require(msg.sender == address(provider), "VRFConsumerBaseStaticProvider: The sender is not the provider");
        useValue(seed, time, result);
    }

    /// @dev What the consumer does with a random value. The parameters are those of `consume`.
    function useValue(string calldata seed, uint64 time, bytes32 result) internal virtual;
}

/// @title An example: a consumer that asks for random values and keeps the newest
contract VRFConsumer is VRFConsumerBase {
    event RandomDataRequested(address provider, string seed, uint256 bounty);
    event Consume(string seed, uint64 time, bytes32 result);

    string public latestSeed;
    uint64 public latestTime;
    bytes32 public latestResult;

    constructor(IVRFProvider _provider) VRFConsumerBase(_provider) {}

    /// @notice Asks the provider. The value sent is the fee of the task.
    function requestRandomDataFromProvider(string calldata clientSeed) external payable {
        provider.requestRandomData{value: msg.value}(clientSeed);
        emit RandomDataRequested(address(provider), clientSeed, msg.value);
    }

    function useValue(string calldata seed, uint64 time, bytes32 result) internal override {
        latestSeed = seed;
        latestTime = time;
        latestResult = result;
        emit Consume(seed, time, result);
    }
}
