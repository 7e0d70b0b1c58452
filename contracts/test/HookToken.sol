// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {TestToken} from "./TestToken.sol";

/// @notice What a sender or receiver implements to be called during a transfer.
interface TransferListener {
    function tokensMoved(address from, address to, uint256 amount) external;
}

/// @title A token that calls both parties of a transfer when they are contracts
/// @notice Tests only: lets an account re-enter whoever moves its tokens.
contract HookToken is TestToken {
    /// @notice The account that is told of transfers it takes part in.
    address public listener;

    constructor(string memory name_, string memory symbol_, uint8 decimals_) TestToken(name_, symbol_, decimals_) {}

    /// @notice Sets the account that is told of its transfers.
    function listen(address listener_) external {
        listener = listener_;
    }

    function transferHook(address from, address to, uint256 amount) internal override {
        move(from, to, amount);
        if (listener != address(0) && (from == listener || to == listener)) {
            TransferListener(listener).tokensMoved(from, to, amount);
        }
    }
}

/// @title An account that pays or withdraws again from inside the token
/// @notice Tests only.
contract ReentrantAccount is TransferListener {
    address public immutable payerContract;
    HookToken public immutable token;
    bytes private nested;

    /// @notice Whether the nested call succeeded, and what it returned.
    bool public nestedSucceeded;
    bytes public nestedOutput;

    constructor(address payerContract_, HookToken token_) {
        payerContract = payerContract_;
        token = token_;
        token_.approve(payerContract_, type(uint256).max);
        token_.listen(address(this));
    }

    /// @notice Calls the payer contract with `outer`; the first transfer this causes calls it again with `inner`.
    function run(bytes calldata outer, bytes calldata inner) external {
        nested = inner;
        (bool succeeded, bytes memory output) = payerContract.call(outer);
        if (!succeeded) {
            assembly ("memory-safe") {
                revert(add(output, 0x20), mload(output))
            }
        }
    }

    function tokensMoved(address, address, uint256) external {
        bytes memory input = nested;
        if (input.length == 0) {
            return;
        }
        delete nested;
        (nestedSucceeded, nestedOutput) = payerContract.call(input);
    }
}
