// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IBridge} from "../vrf/IBridge.sol";
import {VRFConsumerBase, IVRFProvider} from "../vrf/VRFConsumer.sol";
import {VRFProviderV1} from "../vrf/VRFProviderV1.sol";
import {VRFProviderV2} from "../vrf/VRFProviderV2.sol";

/// @title What a fixed provider takes for time, block hash and chain id
/// @notice Tests only: given at deployment, so that seeds can be reproduced.
abstract contract FixedWorld {
    struct World {
        uint64 time;
        bytes32 blockHash;
        uint256 chainID;
    }

    uint64 internal immutable fixedTime;
    bytes32 internal immutable fixedBlockHash;
    uint256 internal immutable fixedChainID;

    constructor(World memory world) {
        fixedTime = world.time;
        fixedBlockHash = world.blockHash;
        fixedChainID = world.chainID;
    }
}

/// @title VRFProviderV1 in a fixed world
contract FixedProviderV1 is VRFProviderV1, FixedWorld {
    constructor(
        uint8 minCount_,
        uint8 askCount_,
        uint64 oracleScriptID_,
        IBridge bridge_,
        uint256 minimumFee_,
        World memory world
    ) VRFProviderV1(minCount_, askCount_, oracleScriptID_, bridge_, minimumFee_) FixedWorld(world) {}

    function getBlockTime() public view override returns (uint64) {
        return fixedTime;
    }

    function getBlockLatestHash() public view override returns (bytes32) {
        return fixedBlockHash;
    }

    function getChainID() public view override returns (uint256) {
        return fixedChainID;
    }
}

/// @title VRFProviderV2 in a fixed world
contract FixedProviderV2 is VRFProviderV2, FixedWorld {
    constructor(uint64 oracleScriptID_, IBridge bridge_, uint256 minimumFee_, World memory world)
        VRFProviderV2(oracleScriptID_, bridge_, minimumFee_)
        FixedWorld(world)
    {}

    function getBlockTime() public view override returns (uint64) {
        return fixedTime;
    }

    function getBlockLatestHash() public view override returns (bytes32) {
        return fixedBlockHash;
    }

    function getChainID() public view override returns (uint256) {
        return fixedChainID;
    }
}

/// @title A consumer that does not take values
/// @notice Tests only. Anyone may tell it how to fail.
contract FailingConsumer is VRFConsumerBase {
    enum Mode {
        /// Takes the value after all.
        Accept,
        /// Reverts with the data it was given.
        Revert,
        /// Asks the provider for the next value, which the provider does not allow at that moment.
        AskAgain,
        /// Uses up all gas it is given.
        Burn
    }

    Mode public mode;
    bytes public failure;
    bytes32 public latestResult;

    constructor(IVRFProvider provider_) VRFConsumerBase(provider_) {}

    /// @param failure_ What `Mode.Revert` reverts with.
    function setMode(Mode mode_, bytes calldata failure_) external {
        mode = mode_;
        failure = failure_;
    }

    function requestRandomDataFromProvider(string calldata clientSeed) external payable {
        provider.requestRandomData{value: msg.value}(clientSeed);
    }

    function useValue(string calldata seed, uint64, bytes32 result) internal override {
        if (mode == Mode.Revert) {
            bytes memory data = failure;
            assembly ("memory-safe") {
                revert(add(data, 0x20), mload(data))
            }
        } else if (mode == Mode.AskAgain) {
            provider.requestRandomData{value: address(this).balance}(string.concat(seed, "+"));
        } else if (mode == Mode.Burn) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        latestResult = result;
    }

    receive() external payable {}
}
