// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Merkle} from "./Merkle.sol";

/// @title From the root of BandChain's oracle store to the app hash
/// @dev The app hash is the root of a Merkle tree over the chain's stores, in order of their names. Which stores
/// there are depends on the version of the chain, so the side on which each sibling stands does, too. The siblings
/// stand in the proof from the leaf to the root in either layout.
library MultiStore {
    struct Proof {
        bytes32 oracleRoot;
        bytes32 sibling0;
        bytes32 sibling1;
        bytes32 sibling2;
        bytes32 sibling3;
        bytes32 sibling4;
    }

    /// @notice BandChain v3, 27 stores. Siblings: mint, params to restake, rollingseed to transfer, tss to upgrade,
    /// acc to icahost.
    function appHashV3(Proof memory proof) internal view returns (bytes32 hash) {
        hash = Merkle.inner(proof.sibling0, oracleLeaf(proof.oracleRoot));
        hash = Merkle.inner(hash, proof.sibling1);
        hash = Merkle.inner(hash, proof.sibling2);
        hash = Merkle.inner(hash, proof.sibling3);
        hash = Merkle.inner(proof.sibling4, hash);
    }

    /// @notice BandChain v2.4 and v2.5, 18 stores. Siblings: params, slashing to staking, gov to mint, acc to feegrant,
    /// transfer to upgrade.
    function appHashV2(Proof memory proof) internal view returns (bytes32 hash) {
        hash = Merkle.inner(oracleLeaf(proof.oracleRoot), proof.sibling0);
        hash = Merkle.inner(hash, proof.sibling1);
        hash = Merkle.inner(proof.sibling2, hash);
        hash = Merkle.inner(proof.sibling3, hash);
        hash = Merkle.inner(hash, proof.sibling4);
    }

    /// @dev The item is the name with its length and the hash of the root with its length.
    function oracleLeaf(bytes32 oracleRoot) private pure returns (bytes32) {
        return Merkle.leaf(abi.encodePacked(uint8(6), "oracle", uint8(32), sha256(abi.encodePacked(oracleRoot))));
    }
}
