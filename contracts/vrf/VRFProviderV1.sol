// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IBridge} from "./IBridge.sol";
import {VRFDecoder} from "./VRFDecoder.sol";
import {VRFProviderBase, VRFProviderSettings} from "./VRFProviderBase.sol";

/// @title How many validators BandChain must have asked and heard
abstract contract VRFProviderCounts is VRFProviderSettings {
    event SetMinCount(uint8 newMinCount);
    event SetAskCount(uint8 newAskCount);

    uint8 public minCount;
    uint8 public askCount;

    constructor(uint8 _minCount, uint8 _askCount) {
        changeMinCount(_minCount);
        changeAskCount(_askCount);
    }

    function setMinCount(uint8 _minCount) external onlyOwner {
        changeMinCount(_minCount);
    }

    function setAskCount(uint8 _askCount) external onlyOwner {
        changeAskCount(_askCount);
    }

    function changeMinCount(uint8 _minCount) private {
        minCount = _minCount;
        emit SetMinCount(_minCount);
    }

    function changeAskCount(uint8 _askCount) private {
        askCount = _askCount;
        emit SetAskCount(_askCount);
    }
}

/// @title The provider of random values, first version
/// @notice It keeps the proof of the random function beside the value, so that anyone can check the function itself.
contract VRFProviderV1 is VRFProviderCounts, VRFProviderBase {
    struct Task {
        bool isResolved;
        uint64 time;
        address caller;
        uint256 taskFee;
        bytes32 seed;
        string clientSeed;
        bytes proof;
        bytes result;
    }

    mapping(uint64 nonce => Task) public tasks;

    constructor(uint8 _minCount, uint8 _askCount, uint64 _oracleScriptID, IBridge _bridge, uint256 _minimumFee)
        VRFProviderSettings(_bridge, _oracleScriptID)
        VRFProviderCounts(_minCount, _askCount)
        VRFProviderBase(_minimumFee)
    {}

    /// @notice Resolves a task with a proof of its result. Anyone may call whose address is in the request.
    function relayProof(bytes calldata proof, uint64 nonce) external nonReentrant {
        Task storage task = tasks[nonce];
        checkOpen(task.caller, task.isResolved);
        IBridge.Result memory proven = bridge.relayAndVerify(proof);
        checkScript(proven.oracleScriptID);
        require(proven.minCount == minCount, "VRFProviderBase: Min Count not match");
        require(proven.askCount == askCount, "VRFProviderBase: Ask Count not match");
        checkRequest(proven, task.seed, task.time);
        bytes32 resultHash = resolve(task, proven.result);
        string memory clientSeed = task.clientSeed;
        emit RandomDataRelayed(task.time, proven.requestID, task.caller, resultHash, task.seed, clientSeed);
        deliver(task.caller, clientSeed, task.time, resultHash, task.taskFee);
    }

    function resolve(Task storage task, bytes memory encoded) private returns (bytes32 resultHash) {
        (bytes memory proof, bytes memory result) = VRFDecoder.decodeResultV1(encoded);
        task.isResolved = true;
        task.proof = proof;
        task.result = result;
        return keccak256(result);
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
