//! Artifacts by name, and creation code with constructor arguments.

use alloy_json_abi::JsonAbi;
use alloy_primitives::{Bytes, hex};
use alloy_sol_types::SolConstructor;

/// A committed compiler artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Artifact {
    /// Name of the contract, as in the Solidity source.
    pub name: &'static str,
    /// The artifact file: `abi`, `bytecode`, `deployedBytecode`, `storageLayout`,
    /// `storageStructs` where there are any, `compiler`, `settings`, `sourceHash`.
    pub json: &'static str,
}

/// A committed artifact cannot be read. Only an edit by hand can cause it; a test reads all of them.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The text is not JSON, or a field has another shape than the compiler writes.
    #[error("artifact {name}: {source}")]
    Malformed {
        /// Name of the contract.
        name: &'static str,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A field is missing or is not a hex text.
    #[error("artifact {name}: field `{field}` is missing or is not hex")]
    Field {
        /// Name of the contract.
        name: &'static str,
        /// Name of the field.
        field: &'static str,
    },
}

macro_rules! artifacts {
    ($($name:literal),* $(,)?) => {
        /// All committed artifacts, in order of name.
        pub const ALL: &'static [Artifact] = &[$(Artifact {
            name: $name,
            json: include_str!(concat!("../artifacts/", $name, ".json")),
        }),*];
    };
}

impl Artifact {
    artifacts!(
        "Bridge",
        "BridgeV2Layout",
        "FailingConsumer",
        "FalseToken",
        "FeeToken",
        "FixedProviderV1",
        "FixedProviderV2",
        "HookToken",
        "KeyperPayer",
        "NoReturnToken",
        "ReentrantAccount",
        "TestToken",
        "VRFConsumer",
        "VRFLensV1",
        "VRFLensV2",
        "VRFLibraries",
        "VRFProviderV1",
        "VRFProviderV2",
    );

    /// The artifact of the contract with this name.
    pub fn by_name(name: &str) -> Option<Artifact> {
        Self::ALL.iter().copied().find(|artifact| artifact.name == name)
    }

    /// The contract's ABI.
    ///
    /// # Errors
    /// [`ArtifactError::Malformed`] if the committed file is damaged.
    pub fn abi(&self) -> Result<JsonAbi, ArtifactError> {
        let abi = self.document()?.get("abi").cloned().unwrap_or_default();
        serde_json::from_value(abi).map_err(|source| ArtifactError::Malformed { name: self.name, source })
    }

    /// Creation code without constructor arguments.
    ///
    /// # Errors
    /// If the committed file is damaged.
    pub fn bytecode(&self) -> Result<Bytes, ArtifactError> {
        self.hex_field("bytecode")
    }

    /// Code on chain. Immutables are zero in it.
    ///
    /// # Errors
    /// If the committed file is damaged.
    pub fn deployed_bytecode(&self) -> Result<Bytes, ArtifactError> {
        self.hex_field("deployedBytecode")
    }

    /// The whole file.
    ///
    /// # Errors
    /// [`ArtifactError::Malformed`] if it is not JSON.
    pub fn document(&self) -> Result<serde_json::Value, ArtifactError> {
        serde_json::from_str(self.json).map_err(|source| ArtifactError::Malformed { name: self.name, source })
    }

    fn hex_field(&self, field: &'static str) -> Result<Bytes, ArtifactError> {
        let document = self.document()?;
        let text = document.get(field).and_then(serde_json::Value::as_str);
        text.and_then(|text| hex::decode(text).ok()).map(Bytes::from).ok_or(ArtifactError::Field { name: self.name, field })
    }
}

/// Creation code followed by ABI-encoded constructor arguments: the data of a contract-creation transaction.
pub fn init_code(bytecode: &[u8], constructor: &impl SolConstructor) -> Bytes {
    let mut code = bytecode.to_vec();
    code.extend(constructor.abi_encode());
    code.into()
}
