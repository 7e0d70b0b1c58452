//! The project's Solidity contracts as Rust: call and event types, creation code, ABI.
//!
//! Everything comes from the committed files in `artifacts/`, so a Rust build needs no Solidity compiler. Each module is
//! named after its contract and holds one type per function, event and error, `BYTECODE` (creation code without
//! constructor arguments) and `DEPLOYED_BYTECODE` (code on chain; immutables are zero in it).

/// Contracts of the payer service.
pub mod payer {
    #![allow(missing_docs, clippy::all, reason = "generated from the ABI; the Solidity sources carry the documentation")]

    alloy_sol_types::sol!(
        #[sol(all_derives)]
        KeyperPayer,
        "artifacts/KeyperPayer.json"
    );
}

/// Tokens and accounts for development chains and tests; never deployed where money is real.
pub mod test {
    #![allow(missing_docs, clippy::all, reason = "generated from the ABI; the Solidity sources carry the documentation")]

    alloy_sol_types::sol!(
        #[sol(all_derives)]
        TestToken,
        "artifacts/TestToken.json"
    );
    alloy_sol_types::sol!(
        #[sol(all_derives)]
        FeeToken,
        "artifacts/FeeToken.json"
    );
    alloy_sol_types::sol!(
        #[sol(all_derives)]
        FalseToken,
        "artifacts/FalseToken.json"
    );
    alloy_sol_types::sol!(
        #[sol(all_derives)]
        NoReturnToken,
        "artifacts/NoReturnToken.json"
    );
    alloy_sol_types::sol!(
        #[sol(all_derives)]
        HookToken,
        "artifacts/HookToken.json"
    );
    alloy_sol_types::sol!(
        #[sol(all_derives)]
        ReentrantAccount,
        "artifacts/ReentrantAccount.json"
    );
}

pub use payer::KeyperPayer;
pub use test::TestToken;

mod artifact;
pub use artifact::{Artifact, ArtifactError, init_code};
