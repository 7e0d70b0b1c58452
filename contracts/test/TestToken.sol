// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title An ERC-20 token that anyone may mint
/// @notice For development chains and tests only. It reverts with the custom errors of ERC-6093 and emits what ERC-20
/// asks for; an allowance of 2^256-1 is unlimited and never lowered.
contract TestToken {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    error ERC20InvalidSender(address sender);
    error ERC20InvalidReceiver(address receiver);
    error ERC20InvalidSpender(address spender);

    string public name;
    string public symbol;
    uint8 public immutable decimals;
    uint256 public totalSupply;
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    constructor(string memory name_, string memory symbol_, uint8 decimals_) {
        name = name_;
        symbol = symbol_;
        decimals = decimals_;
    }

    /// @notice Creates `amount` for `to`.
    function mint(address to, uint256 amount) external {
        if (to == address(0)) {
            revert ERC20InvalidReceiver(to);
        }
        move(address(0), to, amount);
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        if (spender == address(0)) {
            revert ERC20InvalidSpender(spender);
        }
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        transferBetween(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) {
            if (allowed < amount) {
                revert ERC20InsufficientAllowance(msg.sender, allowed, amount);
            }
            allowance[from][msg.sender] = allowed - amount;
        }
        transferBetween(from, to, amount);
        return true;
    }

    function transferBetween(address from, address to, uint256 amount) private {
        if (from == address(0)) {
            revert ERC20InvalidSender(from);
        }
        if (to == address(0)) {
            revert ERC20InvalidReceiver(to);
        }
        transferHook(from, to, amount);
    }

    /// @dev What a transfer between two accounts does. Variants of the token override this one function.
    function transferHook(address from, address to, uint256 amount) internal virtual {
        move(from, to, amount);
    }

    /// @dev Moves `amount`; the zero address as `from` creates and as `to` destroys.
    function move(address from, address to, uint256 amount) internal {
        if (from == address(0)) {
            totalSupply += amount;
        } else {
            uint256 balance = balanceOf[from];
            if (balance < amount) {
                revert ERC20InsufficientBalance(from, balance, amount);
            }
            balanceOf[from] = balance - amount;
        }
        if (to == address(0)) {
            totalSupply -= amount;
        } else {
            balanceOf[to] += amount;
        }
        emit Transfer(from, to, amount);
    }
}
