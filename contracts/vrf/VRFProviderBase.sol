// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IBridge} from "./IBridge.sol";
import {Ownable} from "./Ownable.sol";
import {ReentrancyGuard} from "./ReentrancyGuard.sol";
import {IVRFConsumer} from "./IVRFConsumer.sol";
import {VRFDecoder} from "./VRFDecoder.sol";

/// @title What both versions of the provider begin with
/// @dev The state variables of the versions are interleaved: the counts of V1 share a slot with these, the rest comes
/// after them. Hence three abstract contracts, put together in the order that gives the documented layout.
abstract contract VRFProviderSettings is Ownable, ReentrancyGuard {
    event SetBridge(address indexed newBridge);
    event SetOracleScriptID(uint64 newOID);

    /// @notice The light client of BandChain that judges proofs.
    IBridge public bridge;
    /// @notice The oracle script whose results are taken.
    uint64 public oracleScriptID;

    constructor(IBridge _bridge, uint64 _oracleScriptID) {
        changeBridge(_bridge);
        changeOracleScriptID(_oracleScriptID);
    }

    function setBridge(IBridge _bridge) external onlyOwner {
        changeBridge(_bridge);
    }

    function setOracleScriptID(uint64 _oracleScriptID) external onlyOwner {
        changeOracleScriptID(_oracleScriptID);
    }

    function changeBridge(IBridge _bridge) private {
        bridge = _bridge;
        emit SetBridge(address(_bridge));
    }

    function changeOracleScriptID(uint64 _oracleScriptID) private {
        oracleScriptID = _oracleScriptID;
        emit SetOracleScriptID(_oracleScriptID);
    }
}

/// @title Taking requests for random values, and what relaying the values has in common
abstract contract VRFProviderBase is VRFProviderSettings {
    event RandomDataRequested(
        uint64 time,
        uint64 nonce,
        address indexed caller,
        bytes32 blockHash,
        bytes32 seed,
        uint256 chainID,
        uint256 taskFee,
        string clientSeed
    );
    event RandomDataRelayed(
        uint64 time, uint64 bandRequestID, address indexed to, bytes32 resultHash, bytes32 seed, string clientSeed
    );
    event SetMinimumFee(uint256 newMinimumFee);

    /// @notice The number of tasks so far, which is the nonce of the next one.
    uint64 public taskNonce;
    /// @notice What a request must bring at least, in wei. Everything it brings goes to whoever relays the value.
    uint256 public minimumFee;
    /// @notice Whether an account has used a client seed. It can use each only once.
    mapping(address caller => mapping(string clientSeed => bool)) public hasClientSeed;

    constructor(uint256 _minimumFee) {
        changeMinimumFee(_minimumFee);
    }

    function setMinimumFee(uint256 _minimumFee) external onlyOwner {
        changeMinimumFee(_minimumFee);
    }

    /// @notice Asks for a random value. The seed of the task is fixed here; nobody can choose it, because it depends on
    /// the block before.
    function requestRandomData(string calldata clientSeed) external payable nonReentrant {
        mapping(string => bool) storage used = hasClientSeed[msg.sender];
        require(!used[clientSeed], "VRFProviderBase: Seed already existed for this sender");
        require(msg.value >= minimumFee, "VRFProviderBase: Task fee is lower than the minimum fee");

        uint64 nonce = taskNonce;
        uint64 time = getBlockTime();
        bytes32 blockHash = getBlockLatestHash();
        uint256 chainID = getChainID();
        bytes32 seed = getSeed(time, msg.sender, blockHash, chainID, nonce, clientSeed);

        storeTask(nonce, time, seed, clientSeed);
        used[clientSeed] = true;
        taskNonce = nonce + 1;
        emit RandomDataRequested(time, nonce, msg.sender, blockHash, seed, chainID, msg.value, clientSeed);
    }

    /// @notice The seed of a task.
    function getSeed(
        uint64 time,
        address caller,
        bytes32 blockHash,
        uint256 chainID,
        uint256 nonce,
        string memory clientSeed
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(time, caller, blockHash, chainID, nonce, clientSeed));
    }

    function getBlockTime() public view virtual returns (uint64) {
        return uint64(block.timestamp);
    }

    /// @notice The hash of the previous block: that of the current one does not exist yet.
    function getBlockLatestHash() public view virtual returns (bytes32) {
        return blockhash(block.number - 1);
    }

    function getChainID() public view virtual returns (uint256) {
        return block.chainid;
    }

    /// @dev Keeps the task of `msg.sender` with the fee `msg.value`.
    function storeTask(uint64 nonce, uint64 time, bytes32 seed, string calldata clientSeed) internal virtual;

    /// @dev Reverts unless a task can be resolved.
    function checkOpen(address caller, bool isResolved) internal pure {
        require(caller != address(0), "VRFProviderBase: Task not found");
        require(!isResolved, "VRFProviderBase: Task already resolved");
    }

    function checkScript(uint64 proven) internal view {
        require(proven == oracleScriptID, "VRFProviderBase: Oracle Script ID not match");
    }

    /// @dev Reverts unless a proven request succeeded and was made for this task by the sender. Without the last,
    /// anybody who sees the proof in the pool of transactions could take the fee.
    function checkRequest(IBridge.Result memory proven, bytes32 taskSeed, uint64 taskTime) internal view {
        require(
            proven.resolveStatus == IBridge.ResolveStatus.Success, "VRFProviderBase: Request not successfully resolved"
        );
        (bytes32 seed, uint64 time, address worker) = VRFDecoder.decodeParams(proven.params);
        require(worker == msg.sender, "VRFProviderBase: The sender must be the task worker");
        require(seed == taskSeed, "VRFProviderBase: Seed is mismatched");
        require(time == taskTime, "VRFProviderBase: Time is mismatched");
    }

    /// @dev Hands the value to the consumer and the fee to the worker. If the consumer reverts, everything does, and
    /// the task stays open. A worker that cannot take money loses the fee, not the value.
    function deliver(address caller, string memory clientSeed, uint64 time, bytes32 result, uint256 fee) internal {
        if (caller.code.length > 0) {
            IVRFConsumer(caller).consume(clientSeed, time, result);
        }
        (bool paid,) = msg.sender.call{value: fee}("");
        paid; // Not looked at, on purpose.
    }

    function changeMinimumFee(uint256 _minimumFee) private {
        minimumFee = _minimumFee;
        emit SetMinimumFee(_minimumFee);
    }
}
