// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title A contract that is set up by a call instead of its constructor, so that it can stand behind a proxy
/// @dev Slot 0 is laid out as proxies and their tools expect.
abstract contract InitializedOnce {
    event Initialized(uint8 version);

    uint8 private _initialized;
    /// Never set: nothing in the set-up calls back. Its place in the slot is part of the layout.
    bool private _initializing;

    modifier initializer() {
        require(_initialized == 0, "Initializable: contract is already initialized");
        _initialized = 1;
        _;
        emit Initialized(1);
    }
}
