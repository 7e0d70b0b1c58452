// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @notice The part of ERC-20 the payer contract calls.
interface Token {
    function allowance(address owner, address spender) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @notice Token transfers that succeed or revert, whatever the token returns.
/// @dev A token may return `true` or nothing. A token that returns `false` has failed. A revert of the token passes
/// through unchanged; one without data becomes `FailedInnerCall`.
library TokenTransfer {
    error AddressEmptyCode(address target);
    error FailedInnerCall();
    error SafeERC20FailedOperation(address token);

    /// @notice Moves `amount` from `from` to the calling contract, using the allowance `from` gave it.
    function take(Token token, address from, uint256 amount) internal {
        call(token, abi.encodeCall(token.transferFrom, (from, address(this), amount)));
    }

    /// @notice Moves `amount` from the calling contract to `to`.
    function send(Token token, address to, uint256 amount) internal {
        call(token, abi.encodeCall(token.transfer, (to, amount)));
    }

    function call(Token token, bytes memory input) private {
        (bool succeeded, bytes memory output) = address(token).call(input);
        if (!succeeded) {
            if (output.length == 0) {
                revert FailedInnerCall();
            }
            assembly ("memory-safe") {
                revert(add(output, 0x20), mload(output))
            }
        }
        if (output.length == 0) {
            // A call to an address without code also succeeds without output.
            if (address(token).code.length == 0) {
                revert AddressEmptyCode(address(token));
            }
        } else if (!abi.decode(output, (bool))) {
            revert SafeERC20FailedOperation(address(token));
        }
    }
}
