// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {TestToken} from "./TestToken.sol";

/// @title A token that burns a share of every transfer
/// @notice Tests only: the receiver gets less than the amount sent.
contract FeeToken is TestToken {
    /// @notice The share burnt, in hundredths of a percent of the amount, rounded down.
    uint256 public immutable feeBps;

    constructor(string memory name_, string memory symbol_, uint8 decimals_, uint256 feeBps_)
        TestToken(name_, symbol_, decimals_)
    {
        feeBps = feeBps_;
    }

    function transferHook(address from, address to, uint256 amount) internal override {
        uint256 fee = amount * feeBps / 10_000;
        move(from, address(0), fee);
        move(from, to, amount - fee);
    }
}
