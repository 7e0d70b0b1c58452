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

/// Contracts of the VRF relay: the Bridge, the providers with their lenses, and an example of a consumer.
///
/// A folder of modules, because contracts share structs and each binding brings those it uses.
pub mod vrf {
    #![allow(missing_docs, clippy::all, reason = "generated from the ABI; the Solidity sources carry the documentation")]

    pub mod bridge {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            Bridge,
            "artifacts/Bridge.json"
        );
    }
    /// The same contract for the stores of BandChain v2. Its calls are those of [`bridge`]; what differs is the code.
    pub mod bridge_v2_layout {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            BridgeV2Layout,
            "artifacts/BridgeV2Layout.json"
        );
    }
    pub mod provider_v1 {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            VRFProviderV1,
            "artifacts/VRFProviderV1.json"
        );
    }
    pub mod provider_v2 {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            VRFProviderV2,
            "artifacts/VRFProviderV2.json"
        );
    }
    pub mod lens_v1 {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            VRFLensV1,
            "artifacts/VRFLensV1.json"
        );
    }
    pub mod lens_v2 {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            VRFLensV2,
            "artifacts/VRFLensV2.json"
        );
    }
    pub mod consumer {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            VRFConsumer,
            "artifacts/VRFConsumer.json"
        );
    }

    pub use bridge::Bridge;
    pub use bridge_v2_layout::BridgeV2Layout;
    pub use consumer::VRFConsumer;
    pub use lens_v1::VRFLensV1;
    pub use lens_v2::VRFLensV2;
    pub use provider_v1::VRFProviderV1;
    pub use provider_v2::VRFProviderV2;
}

/// Tokens, accounts, providers and consumers for development chains and tests; never deployed where money is real.
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
    alloy_sol_types::sol!(
        #[sol(all_derives)]
        FailingConsumer,
        "artifacts/FailingConsumer.json"
    );

    pub mod fixed_provider_v1 {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            FixedProviderV1,
            "artifacts/FixedProviderV1.json"
        );
    }
    pub mod fixed_provider_v2 {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            FixedProviderV2,
            "artifacts/FixedProviderV2.json"
        );
    }
    pub mod vrf_libraries {
        alloy_sol_types::sol!(
            #[sol(all_derives)]
            VRFLibraries,
            "artifacts/VRFLibraries.json"
        );
    }

    pub use fixed_provider_v1::FixedProviderV1;
    pub use fixed_provider_v2::FixedProviderV2;
    pub use vrf_libraries::VRFLibraries;
}

pub use payer::KeyperPayer;
pub use test::TestToken;

mod artifact;
pub use artifact::{Artifact, ArtifactError, init_code};
