// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Voting powers by account, in the order in which the accounts came
/// @dev The layout of the map, words instead of addresses and numbers included, is part of the Bridge's storage layout.
library ValidatorPowers {
    struct ValidatorWithPower {
        address addr;
        uint256 power;
    }

    struct Map {
        bytes32[] keys;
        /// The place of a key in `keys`, counted from one; zero for a key that is not there.
        mapping(bytes32 key => uint256 place) places;
        mapping(bytes32 key => bytes32 power) powers;
    }

    /// @notice Sets the power of an account, which becomes the last one if it is new.
    /// @return isNew Whether it is.
    function set(Map storage map, address account, uint256 power) internal returns (bool isNew) {
        bytes32 key = keyOf(account);
        map.powers[key] = bytes32(power);
        isNew = map.places[key] == 0;
        if (isNew) {
            map.keys.push(key);
            map.places[key] = map.keys.length;
        }
    }

    /// @notice Removes an account. The last one moves into its place. Nothing happens if it is not there.
    function remove(Map storage map, address account) internal {
        bytes32 key = keyOf(account);
        uint256 place = map.places[key];
        if (place == 0) {
            return;
        }
        uint256 length = map.keys.length;
        if (place != length) {
            bytes32 last = map.keys[length - 1];
            map.keys[place - 1] = last;
            map.places[last] = place;
        }
        map.keys.pop();
        delete map.places[key];
        delete map.powers[key];
    }

    /// @notice The power of an account; zero if it is not there.
    function get(Map storage map, address account) internal view returns (uint256) {
        return uint256(map.powers[keyOf(account)]);
    }

    function count(Map storage map) internal view returns (uint256) {
        return map.keys.length;
    }

    /// @notice Up to `size` entries from `offset` on. Empty if there is nothing.
    function list(Map storage map, uint256 offset, uint256 size)
        internal
        view
        returns (ValidatorWithPower[] memory entries)
    {
        uint256 length = map.keys.length;
        uint256 rest = offset < length ? length - offset : 0;
        entries = new ValidatorWithPower[](size < rest ? size : rest);
        for (uint256 i = 0; i < entries.length; ++i) {
            bytes32 key = map.keys[offset + i];
            entries[i] = ValidatorWithPower(address(uint160(uint256(key))), uint256(map.powers[key]));
        }
    }

    function keyOf(address account) private pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }
}
