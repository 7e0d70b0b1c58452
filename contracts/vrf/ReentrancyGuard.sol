// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Functions that must not be entered while one of them runs
abstract contract ReentrancyGuard {
    /// One while nothing runs, two while something does: a slot that is never zero is cheaper to change.
    uint256 private _status = 1;

    modifier nonReentrant() {
        require(_status != 2, "ReentrancyGuard: reentrant call");
        _status = 2;
        _;
        _status = 1;
    }
}
