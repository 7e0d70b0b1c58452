// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IBridge} from "./IBridge.sol";
import {VRFDecoder} from "./VRFDecoder.sol";
import {VRFProviderBase, VRFProviderSettings} from "./VRFProviderBase.sol";

/// @title The provider of random values, second version
/// @notice Cheaper than the first: values are one word, and proofs leave nothing behind in the Bridge.
contract VRFProviderV2 is VRFProviderBase {
    struct Task {
        bool isResolved;
        uint64 time;
        address caller;
        uint256 taskFee;
        bytes32 seed;
        bytes32 result;
        string clientSeed;
    }

    mapping(uint64 nonce => Task) public tasks;

    constructor(uint64 _oracleScriptID, IBridge _bridge, uint256 _minimumFee)
        VRFProviderSettings(_bridge, _oracleScriptID)
        VRFProviderBase(_minimumFee)
    {}

    /// @notice Resolves a task with a proof of its result. Anyone may call whose address is in the request.
    function relayProof(bytes calldata proof, uint64 nonce) external nonReentrant {
        Task storage task = tasks[nonce];
        checkOpen(task.caller, task.isResolved);
        IBridge.Result memory proven = bridge.verifyOracleResult(proof);
        checkScript(proven.oracleScriptID);
        checkRequest(proven, task.seed, task.time);
        bytes32 result = VRFDecoder.decodeResultV2(proven.result);
        task.isResolved = true;
        task.result = result;
        string memory clientSeed = task.clientSeed;
        emit RandomDataRelayed(task.time, proven.requestID, task.caller, result, task.seed, clientSeed);
        deliver(task.caller, clientSeed, task.time, result, task.taskFee);
    }

    function storeTask(uint64 nonce, uint64 time, bytes32 seed, string calldata clientSeed) internal override {
        Task storage task = tasks[nonce];
        task.time = time;
        task.caller = msg.sender;
        task.taskFee = msg.value;
        task.seed = seed;
        task.clientSeed = clientSeed;
    }
}
