// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Ownable} from "./Ownable.sol";
import {VRFProviderV1} from "./VRFProviderV1.sol";
import {VRFProviderV2} from "./VRFProviderV2.sol";

/// @title What a lens asks for the settings
interface IVRFProviderSettings {
    function oracleScriptID() external view returns (uint64);
    function minCount() external view returns (uint8);
    function askCount() external view returns (uint8);
}

/// @title Reads many tasks of a provider in one call
abstract contract VRFLens is Ownable {
    /// @notice The provider that is read.
    address public provider;

    constructor(address _provider) {
        provider = _provider;
    }

    function setProvider(address _provider) external onlyOwner {
        provider = _provider;
    }

    /// @notice Script and counts. Reverts without a reason if the provider has no counts.
    function getProviderConfig() external view returns (uint64, uint8, uint8) {
        IVRFProviderSettings settings = IVRFProviderSettings(provider);
        return (settings.oracleScriptID(), settings.minCount(), settings.askCount());
    }
}

/// @title The lens of VRFProviderV1
contract VRFLensV1 is VRFLens {
    constructor(address _provider) VRFLens(_provider) {}

    /// @notice The tasks with these nonces, in the same order; all zero where there is none.
    function getTasksBulk(uint64[] calldata nonces) external view returns (VRFProviderV1.Task[] memory tasks) {
        tasks = new VRFProviderV1.Task[](nonces.length);
        for (uint256 i = 0; i < nonces.length; ++i) {
            VRFProviderV1.Task memory task = tasks[i];
            (
                task.isResolved,
                task.time,
                task.caller,
                task.taskFee,
                task.seed,
                task.clientSeed,
                task.proof,
                task.result
            ) = VRFProviderV1(provider).tasks(nonces[i]);
        }
    }
}

/// @title The lens of VRFProviderV2
contract VRFLensV2 is VRFLens {
    constructor(address _provider) VRFLens(_provider) {}

    /// @notice The tasks with these nonces, in the same order; all zero where there is none.
    function getTasksBulk(uint64[] calldata nonces) external view returns (VRFProviderV2.Task[] memory tasks) {
        tasks = new VRFProviderV2.Task[](nonces.length);
        for (uint256 i = 0; i < nonces.length; ++i) {
            VRFProviderV2.Task memory task = tasks[i];
            (task.isResolved, task.time, task.caller, task.taskFee, task.seed, task.result, task.clientSeed) =
                VRFProviderV2(provider).tasks(nonces[i]);
        }
    }
}
