// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Token, TokenTransfer} from "./TokenTransfer.sol";

/// @title Payment of a fixed set of keypers, by the second
/// @notice Anyone may pay at any time. Every entry of the keyper list earns the same share of each payment. The set
/// counts as paid while everything ever paid covers `requestedRate` for each second since `startTimestamp`.
/// @dev There is no owner and no change of terms. The order of the state variables is part of the interface: readers
/// of storage proofs rely on slots 0 to 5. The contract emits no event of its own.
contract KeyperPayer {
    using TokenTransfer for Token;

    /// @dev Never raised: no value is sent with a call. It is part of the ABI that callers were built against; the
    /// other errors of that ABI come from `TokenTransfer`.
    error AddressInsufficientBalance(address account);

    mapping(address keyper => uint256 amount) private balances;
    uint256 public totalPaid;
    uint256 public startTimestamp;
    address[] private keypers;
    address public sptTokenAddress;
    uint256 public requestedRate;

    /// @param _sptTokenAddress The token payments are made in. Not checked: a wrong address makes `pay` fail.
    /// @param _keypers The accounts to be paid, in order. An account listed twice earns two shares.
    /// @param _requestedRate Token base units per second for the whole set.
    /// @param _startTimestamp Unix time in seconds from which the rate is owed.
    constructor(address _sptTokenAddress, address[] memory _keypers, uint256 _requestedRate, uint256 _startTimestamp) {
        // Empty revert data is part of the interface.
        require(_keypers.length != 0);
        sptTokenAddress = _sptTokenAddress;
        keypers = _keypers;
        requestedRate = _requestedRate;
        startTimestamp = _startTimestamp;
    }

    /// @notice Takes `amount` from the caller, who must have approved it, and credits every keyper entry equally.
    /// @dev Only multiples of the number of entries are taken, so nothing is ever lost to rounding. The token call
    /// comes before the credits: a payment made from inside the token's own code is then counted like any other.
    function pay(uint256 amount) external {
        require(amount != 0, "amount should be bigger than zero");
        uint256 entries = keypers.length;
        require(amount % entries == 0, "amount needs to be divisible by number of keypers");
        Token token = Token(sptTokenAddress);
        require(token.allowance(msg.sender, address(this)) >= amount, "insufficient allowance");

        token.take(msg.sender, amount);

        uint256 share = amount / entries;
        for (uint256 i = 0; i < entries; ++i) {
            balances[keypers[i]] += share;
        }
        totalPaid += amount;
    }

    /// @notice Sends the caller's whole balance to the caller.
    /// @dev The balance is zeroed before the token is called, so a nested withdrawal finds nothing.
    function withdraw() external {
        uint256 amount = balances[msg.sender];
        require(amount != 0, "insufficient balance");
        balances[msg.sender] = 0;
        Token(sptTokenAddress).send(msg.sender, amount);
    }

    /// @notice What `keyperAddress` could withdraw now. Zero for strangers.
    function balanceOf(address keyperAddress) external view returns (uint256) {
        return balances[keyperAddress];
    }

    /// @notice The keyper list as it was given at deployment, duplicates included.
    function getKeypers() external view returns (address[] memory) {
        return keypers;
    }

    /// @notice Whether the payments so far cover the time so far.
    /// @dev Reverts with Panic(0x11) once the amount owed no longer fits 256 bits.
    function isPaid() external view returns (bool) {
        if (block.timestamp < startTimestamp) {
            return true;
        }
        return totalPaid >= requestedRate * (block.timestamp - startTimestamp);
    }
}
