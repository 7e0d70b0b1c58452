// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {AccessRoles} from "./AccessRoles.sol";
import {BlockHeader} from "./BlockHeader.sol";
import {IAVL} from "./IAVL.sol";
import {IBridge} from "./IBridge.sol";
import {InitializedOnce} from "./InitializedOnce.sol";
import {Merkle} from "./Merkle.sol";
import {MultiStore} from "./MultiStore.sol";
import {ResultCodec} from "./ResultCodec.sol";
import {ValidatorPowers} from "./ValidatorPowers.sol";
import {Vote} from "./Vote.sol";

/// @title A light client of BandChain for results of its oracle
/// @notice A proof has two parts. The relay part shows that more than two thirds of the voting power signed a block,
/// and which root the oracle's store had in it. The verify part shows that a value stands in the store with that
/// root.
/// @dev Whoever holds the admin role decides which validators are believed. Their powers do not follow the chain by
/// themselves: VALIDATORS_UPDATER_ROLE brings them up to date.
abstract contract BridgeBase is IBridge, InitializedOnce, AccessRoles {
    using ValidatorPowers for ValidatorPowers.Map;

    /// @dev What is kept of a relayed block.
    struct BlockDetail {
        bytes32 oracleState;
        uint64 timeSecond;
        uint32 timeNanoSecondFraction;
    }

    /// @dev The relay part of a proof: the arguments of `relayBlock`.
    struct SignedBlock {
        MultiStore.Proof multiStore;
        BlockHeader.MerkleParts merkleParts;
        Vote.CommonPart commonPart;
        Vote.Signature[] signatures;
    }

    bytes32 public constant VALIDATORS_UPDATER_ROLE = keccak256("VALIDATORS_UPDATER_ROLE");

    mapping(uint256 height => BlockDetail) public blockDetails;
    ValidatorPowers.Map private validatorPowers;
    uint256 public totalValidatorPower;
    /// @notice Field 6 of a vote with BandChain's id as text: tag 0x32, length, text.
    bytes public encodedChainID;

    /// @notice Sets the Bridge up, once. The sender becomes its admin.
    function initialize(ValidatorPowers.ValidatorWithPower[] calldata validators, bytes calldata _encodedChainID)
        external
        initializer
    {
        grant(DEFAULT_ADMIN_ROLE, msg.sender);
        uint256 total = 0;
        for (uint256 i = 0; i < validators.length; ++i) {
            require(
                validatorPowers.set(validators[i].addr, validators[i].power), "DUPLICATION_IN_INITIAL_VALIDATOR_SET"
            );
            total += validators[i].power;
        }
        totalValidatorPower = total;
        encodedChainID = _encodedChainID;
    }

    function getNumberOfValidators() external view returns (uint256) {
        return validatorPowers.count();
    }

    /// @notice Up to `size` validators from number `offset` on; fewer at the end, none beyond it.
    function getValidators(uint256 offset, uint256 size)
        external
        view
        returns (ValidatorPowers.ValidatorWithPower[] memory)
    {
        return validatorPowers.list(offset, size);
    }

    /// @notice All validators in the order of their coming; the last one has moved into the place of a removed one.
    function getAllValidatorPowers() external view returns (ValidatorPowers.ValidatorWithPower[] memory) {
        return validatorPowers.list(0, validatorPowers.count());
    }

    /// @notice The power of a validator; zero for strangers.
    function getValidatorPower(address addr) external view returns (uint256) {
        return validatorPowers.get(addr);
    }

    function updateEncodedChainID(bytes calldata _encodedChainID) external onlyRole(DEFAULT_ADMIN_ROLE) {
        encodedChainID = _encodedChainID;
    }

    /// @notice Changes powers; a power of zero removes a validator. `expectedTotalPower` is the sum afterwards, which
    /// keeps an update that was made for another state from going through.
    function updateValidatorPowers(
        ValidatorPowers.ValidatorWithPower[] calldata validators,
        uint256 expectedTotalPower
    ) external onlyRole(VALIDATORS_UPDATER_ROLE) {
        uint256 total = totalValidatorPower;
        for (uint256 i = 0; i < validators.length; ++i) {
            address validator = validators[i].addr;
            uint256 power = validators[i].power;
            total = total - validatorPowers.get(validator) + power;
            if (power == 0) {
                validatorPowers.remove(validator);
            } else {
                validatorPowers.set(validator, power);
            }
        }
        require(total == expectedTotalPower, "TOTAL_POWER_CHECKING_FAIL");
        totalValidatorPower = total;
    }

    /// @notice Remembers the root of the oracle's store in a block that enough validators signed. Anyone may call.
    /// @dev A block that is known with the same root and time is not verified again: nothing would change. So further
    /// proofs of that block need no signatures, and those that come all the same are not even read.
    function relayBlock(
        MultiStore.Proof calldata multiStore,
        BlockHeader.MerkleParts calldata merkleParts,
        Vote.CommonPart calldata commonEncodedVotePart,
        Vote.Signature[] calldata signatures
    ) external {
        BlockDetail storage detail = blockDetails[merkleParts.height];
        if (
            detail.oracleState == multiStore.oracleRoot && detail.timeSecond == merkleParts.timeSecond
                && detail.timeNanoSecondFraction == merkleParts.timeNanoSecondFraction
        ) {
            return;
        }
        verifyBlock(SignedBlock(multiStore, merkleParts, commonEncodedVotePart, signatures));
        detail.oracleState = multiStore.oracleRoot;
        detail.timeSecond = merkleParts.timeSecond;
        detail.timeNanoSecondFraction = merkleParts.timeNanoSecondFraction;
    }

    /// @notice Proves a result with the root of a relayed block.
    function verifyOracleData(
        uint256 blockHeight,
        Result memory result,
        uint256 version,
        IAVL.Step[] memory merklePaths
    ) public view returns (Result memory) {
        verifyResult(relayedRoot(blockHeight), result, version, merklePaths);
        return result;
    }

    /// @notice Proves how many requests BandChain had received, with the root of a relayed block.
    function verifyRequestsCount(
        uint256 blockHeight,
        uint256 count,
        uint256 version,
        IAVL.Step[] memory merklePaths
    ) public view returns (uint64, uint64) {
        bytes32 oracleRoot = relayedRoot(blockHeight);
        bytes32 leaf = IAVL.leaf(hex"0052657175657374436f756e74", sha256(abi.encodePacked(uint64(count))), version);
        require(IAVL.root(leaf, merklePaths) == oracleRoot, "INVALID_ORACLE_DATA_PROOF");
        return (blockDetails[blockHeight].timeSecond, uint64(count));
    }

    /// @notice Relays a block and proves a result with it.
    function relayAndVerify(bytes calldata proof) external returns (Result memory) {
        (bytes memory relay, bytes memory verify) = abi.decode(proof, (bytes, bytes));
        relayBlockOf(relay);
        return abi.decode(answer(this.verifyOracleData.selector, verify, "VERIFY_ORACLE_DATA_FAILED"), (Result));
    }

    /// @notice Relays a block and proves several results with it.
    function relayAndMultiVerify(bytes calldata proof) external returns (Result[] memory results) {
        (bytes memory relay, bytes[] memory verifies) = abi.decode(proof, (bytes, bytes[]));
        relayBlockOf(relay);
        results = new Result[](verifies.length);
        for (uint256 i = 0; i < verifies.length; ++i) {
            bytes memory data = answer(this.verifyOracleData.selector, verifies[i], "VERIFY_ORACLE_DATA_FAILED");
            results[i] = abi.decode(data, (Result));
        }
    }

    /// @notice Relays a block and proves the number of requests with it. Returns the time of the block and the number.
    function relayAndVerifyCount(bytes calldata proof) external returns (uint64, uint64) {
        (bytes memory relay, bytes memory verify) = abi.decode(proof, (bytes, bytes));
        relayBlockOf(relay);
        return abi.decode(
            answer(this.verifyRequestsCount.selector, verify, "VERIFY_REQUESTS_COUNT_FAILED"), (uint64, uint64)
        );
    }

    /// @notice Proves a result with the block in the same proof. Nothing is read but the validators, nothing is
    /// written.
    /// @dev The block height in the verify part is of no use here and is not looked at. Both parts are read before either
    /// is judged.
    function verifyOracleResult(bytes calldata proof) external view returns (Result memory) {
        (bytes memory relay, bytes memory verify) = abi.decode(proof, (bytes, bytes));
        SignedBlock memory signed = readRelay(relay);
        (, Result memory result, uint256 version, IAVL.Step[] memory merklePaths) =
            abi.decode(verify, (uint256, Result, uint256, IAVL.Step[]));
        verifyBlock(signed);
        verifyResult(signed.multiStore.oracleRoot, result, version, merklePaths);
        return result;
    }

    /// @dev The app hash of a block whose oracle store has the proven root. Depends on the version of BandChain.
    function appHash(MultiStore.Proof memory multiStore) internal view virtual returns (bytes32);

    /// @dev The parts of a proof are the arguments of other functions. The Bridge calls itself with them, because their
    /// reasons for refusing are not to come through here: callers know only which part was refused.
    function relayBlockOf(bytes memory relay) private {
        (bool accepted,) = address(this).call(abi.encodePacked(this.relayBlock.selector, relay));
        require(accepted, "RELAY_BLOCK_FAILED");
    }

    function answer(bytes4 selector, bytes memory verify, string memory refusal) private view returns (bytes memory) {
        (bool accepted, bytes memory returned) = address(this).staticcall(abi.encodePacked(selector, verify));
        require(accepted, refusal);
        return returned;
    }

    function readRelay(bytes memory relay) private pure returns (SignedBlock memory signed) {
        (signed.multiStore, signed.merkleParts, signed.commonPart, signed.signatures) =
            abi.decode(relay, (MultiStore.Proof, BlockHeader.MerkleParts, Vote.CommonPart, Vote.Signature[]));
    }

    /// @dev Reverts unless more than two thirds of all power signed the block. Signers must come in ascending order, so
    /// that none counts twice; those who are no validators count nothing.
    function verifyBlock(SignedBlock memory signed) private view {
        bytes memory common =
            Vote.common(signed.commonPart, BlockHeader.blockHash(signed.merkleParts, appHash(signed.multiStore)));
        Vote.Signature[] memory signatures = signed.signatures;
        bytes memory chainID = encodedChainID;
        address last = address(0);
        uint256 sum = 0;
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = Vote.signer(signatures[i], common, chainID);
            require(signer > last, "INVALID_SIGNATURE_SIGNER_ORDER");
            sum += validatorPowers.get(signer);
            last = signer;
        }
        require(sum * 3 > totalValidatorPower * 2, "INSUFFICIENT_VALIDATOR_SIGNATURES");
    }

    function verifyResult(bytes32 oracleRoot, Result memory result, uint256 version, IAVL.Step[] memory merklePaths)
        private
        pure
    {
        bytes memory key = abi.encodePacked(uint8(0xff), result.requestID);
        bytes32 leaf = IAVL.leaf(key, sha256(ResultCodec.encode(result)), version);
        require(IAVL.root(leaf, merklePaths) == oracleRoot, "INVALID_ORACLE_DATA_PROOF");
    }

    function relayedRoot(uint256 blockHeight) private view returns (bytes32 oracleRoot) {
        oracleRoot = blockDetails[blockHeight].oracleState;
        require(oracleRoot != bytes32(0), "NO_ORACLE_ROOT_STATE_DATA");
    }
}

/// @title The Bridge of BandChain v3
contract Bridge is BridgeBase {
    function appHash(MultiStore.Proof memory multiStore) internal view override returns (bytes32) {
        return MultiStore.appHashV3(multiStore);
    }
}

/// @title The Bridge of BandChain v2.4 and v2.5
contract BridgeV2Layout is BridgeBase {
    function appHash(MultiStore.Proof memory multiStore) internal view override returns (bytes32) {
        return MultiStore.appHashV2(multiStore);
    }
}
