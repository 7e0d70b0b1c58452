// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Accounts that may do what others may not
/// @dev The interface, the texts and the layout are those that tools for role-based access know (ERC-165 id
/// 0x7965db0b). Every role is given and taken by its admin role, which is always the role zero here.
abstract contract AccessRoles {
    event RoleAdminChanged(bytes32 indexed role, bytes32 indexed previousAdminRole, bytes32 indexed newAdminRole);
    event RoleGranted(bytes32 indexed role, address indexed account, address indexed sender);
    event RoleRevoked(bytes32 indexed role, address indexed account, address indexed sender);

    struct RoleData {
        mapping(address account => bool) members;
        bytes32 adminRole;
    }

    bytes32 public constant DEFAULT_ADMIN_ROLE = 0x00;

    mapping(bytes32 role => RoleData) private _roles;

    modifier onlyRole(bytes32 role) {
        if (!hasRole(role, msg.sender)) {
            string memory account = hexText(uint160(msg.sender), 20);
            revert(string.concat("AccessControl: account ", account, " is missing role ", hexText(uint256(role), 32)));
        }
        _;
    }

    function hasRole(bytes32 role, address account) public view returns (bool) {
        return _roles[role].members[account];
    }

    function getRoleAdmin(bytes32 role) public view returns (bytes32) {
        return _roles[role].adminRole;
    }

    function grantRole(bytes32 role, address account) external onlyRole(getRoleAdmin(role)) {
        grant(role, account);
    }

    function revokeRole(bytes32 role, address account) external onlyRole(getRoleAdmin(role)) {
        revoke(role, account);
    }

    /// @notice Gives up a role of one's own. The account is named so that a wrong key is noticed.
    function renounceRole(bytes32 role, address account) external {
        require(account == msg.sender, "AccessControl: can only renounce roles for self");
        revoke(role, account);
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == 0x7965db0b || interfaceId == 0x01ffc9a7;
    }

    function grant(bytes32 role, address account) internal {
        if (!hasRole(role, account)) {
            _roles[role].members[account] = true;
            emit RoleGranted(role, account, msg.sender);
        }
    }

    function revoke(bytes32 role, address account) private {
        if (hasRole(role, account)) {
            _roles[role].members[account] = false;
            emit RoleRevoked(role, account, msg.sender);
        }
    }

    /// @dev `size` bytes as 0x and lower-case digits.
    function hexText(uint256 value, uint256 size) private pure returns (string memory) {
        bytes memory text = new bytes(2 + 2 * size);
        text[0] = "0";
        text[1] = "x";
        for (uint256 i = text.length; i > 2; --i) {
            text[i - 1] = bytes16("0123456789abcdef")[value & 0xf];
            value >>= 4;
        }
        return string(text);
    }
}
