//! The contracts of the client chain by name: functions, events and storage. Selectors and topics follow from the signatures.

use alloy_primitives::{B256, FixedBytes, U256, keccak256};

/// Selector of a function or an error: the first four bytes of the hash of its signature.
pub fn selector(signature: &str) -> FixedBytes<4> {
    let hash = keccak256(signature);
    FixedBytes::from_slice(hash.get(..4).unwrap_or_default())
}

/// First topic of an event: the hash of its signature.
pub fn topic(signature: &str) -> B256 {
    keccak256(signature)
}

/// A variable in storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub label: &'static str,
    /// Its slot, or its slot within its struct.
    pub slot: u64,
    /// Its first byte in the slot, from the low end.
    pub offset: usize,
    /// Its type as the compiler names it, without numbers of the syntax tree.
    pub kind: &'static str,
}

/// A struct in storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Struct {
    /// Its type as the compiler names it, without numbers of the syntax tree.
    pub kind: &'static str,
    /// Bytes it takes.
    pub bytes: u64,
    /// Its members.
    pub members: &'static [Variable],
}

/// A contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    /// Its name.
    pub name: &'static str,
    /// Signatures of its functions.
    pub functions: &'static [&'static str],
    /// Signatures of its events.
    pub events: &'static [&'static str],
    /// Its variables.
    pub storage: &'static [Variable],
    /// The structs in its storage.
    pub structs: &'static [Struct],
}

const fn variable(label: &'static str, slot: u64, offset: usize, kind: &'static str) -> Variable {
    Variable { label, slot, offset, kind }
}

/// The light client of BandChain.
pub const BRIDGE: Contract = Contract {
    name: "Bridge",
    functions: &[
        "DEFAULT_ADMIN_ROLE()",
        "VALIDATORS_UPDATER_ROLE()",
        "blockDetails(uint256)",
        "encodedChainID()",
        "getAllValidatorPowers()",
        "getNumberOfValidators()",
        "getRoleAdmin(bytes32)",
        "getValidatorPower(address)",
        "getValidators(uint256,uint256)",
        "grantRole(bytes32,address)",
        "hasRole(bytes32,address)",
        "initialize((address,uint256)[],bytes)",
        "relayAndMultiVerify(bytes)",
        "relayAndVerify(bytes)",
        "relayAndVerifyCount(bytes)",
        "relayBlock((bytes32,bytes32,bytes32,bytes32,bytes32,bytes32),\
         (bytes32,uint64,uint64,uint32,bytes32,bytes32,bytes32,bytes32),(bytes,bytes),(bytes32,bytes32,uint8,bytes)[])",
        "renounceRole(bytes32,address)",
        "revokeRole(bytes32,address)",
        "supportsInterface(bytes4)",
        "totalValidatorPower()",
        "updateEncodedChainID(bytes)",
        "updateValidatorPowers((address,uint256)[],uint256)",
        "verifyOracleData(uint256,(string,uint64,bytes,uint64,uint64,uint64,uint64,uint64,uint64,uint8,bytes),uint256,\
         (bool,uint8,uint256,uint256,bytes32)[])",
        "verifyOracleResult(bytes)",
        "verifyRequestsCount(uint256,uint256,uint256,(bool,uint8,uint256,uint256,bytes32)[])",
    ],
    events: &[
        "Initialized(uint8)",
        "RoleAdminChanged(bytes32,bytes32,bytes32)",
        "RoleGranted(bytes32,address,address)",
        "RoleRevoked(bytes32,address,address)",
    ],
    storage: &[
        variable("_initialized", 0, 0, "t_uint8"),
        variable("_initializing", 0, 1, "t_bool"),
        variable("_roles", 1, 0, "t_mapping(t_bytes32,t_struct(RoleData)_storage)"),
        variable("blockDetails", BLOCK_DETAILS, 0, "t_mapping(t_uint256,t_struct(BlockDetail)_storage)"),
        variable("validatorPowers", 3, 0, "t_struct(AddressToUintMap)_storage"),
        variable("totalValidatorPower", 6, 0, "t_uint256"),
        variable("encodedChainID", 7, 0, "t_bytes_storage"),
    ],
    structs: &[
        Struct {
            kind: "t_struct(AddressToUintMap)_storage",
            bytes: 96,
            members: &[variable("_inner", 0, 0, "t_struct(Bytes32ToBytes32Map)_storage")],
        },
        Struct {
            kind: "t_struct(BlockDetail)_storage",
            bytes: 64,
            members: &[
                variable("oracleState", 0, 0, "t_bytes32"),
                variable("timeSecond", 1, 0, "t_uint64"),
                variable("timeNanoSecondFraction", 1, 8, "t_uint32"),
            ],
        },
        Struct { kind: "t_struct(Bytes32Set)_storage", bytes: 64, members: &[variable("_inner", 0, 0, "t_struct(Set)_storage")] },
        Struct {
            kind: "t_struct(Bytes32ToBytes32Map)_storage",
            bytes: 96,
            members: &[
                variable("_keys", 0, 0, "t_struct(Bytes32Set)_storage"),
                variable("_values", 2, 0, "t_mapping(t_bytes32,t_bytes32)"),
            ],
        },
        Struct {
            kind: "t_struct(RoleData)_storage",
            bytes: 64,
            members: &[variable("members", 0, 0, "t_mapping(t_address,t_bool)"), variable("adminRole", 1, 0, "t_bytes32")],
        },
        Struct {
            kind: "t_struct(Set)_storage",
            bytes: 64,
            members: &[
                variable("_values", 0, 0, "t_array(t_bytes32)dyn_storage"),
                variable("_indexes", 1, 0, "t_mapping(t_bytes32,t_uint256)"),
            ],
        },
    ],
};

/// The V1 provider.
pub const PROVIDER_V1: Contract = Contract {
    name: "VRFProviderV1",
    functions: &[
        "askCount()",
        "bridge()",
        "getBlockLatestHash()",
        "getBlockTime()",
        "getChainID()",
        "getSeed(uint64,address,bytes32,uint256,uint256,string)",
        "hasClientSeed(address,string)",
        "minCount()",
        "minimumFee()",
        "oracleScriptID()",
        "owner()",
        "relayProof(bytes,uint64)",
        "renounceOwnership()",
        "requestRandomData(string)",
        "setAskCount(uint8)",
        "setBridge(address)",
        "setMinCount(uint8)",
        "setMinimumFee(uint256)",
        "setOracleScriptID(uint64)",
        "taskNonce()",
        "tasks(uint64)",
        "transferOwnership(address)",
    ],
    events: &[
        OWNERSHIP_TRANSFERRED,
        RANDOM_DATA_RELAYED,
        RANDOM_DATA_REQUESTED,
        SET_ASK_COUNT,
        SET_BRIDGE,
        SET_MIN_COUNT,
        SET_MINIMUM_FEE,
        SET_ORACLE_SCRIPT_ID,
    ],
    storage: &[
        variable("_owner", 0, 0, "t_address"),
        variable("_status", 1, 0, "t_uint256"),
        variable("bridge", 2, 0, "t_contract(IBridge)"),
        variable("oracleScriptID", 2, 20, "t_uint64"),
        variable("minCount", 2, 28, "t_uint8"),
        variable("askCount", 2, 29, "t_uint8"),
        variable("taskNonce", 3, 0, "t_uint64"),
        variable("minimumFee", 4, 0, "t_uint256"),
        variable("hasClientSeed", 5, 0, "t_mapping(t_address,t_mapping(t_string_memory_ptr,t_bool))"),
        variable("tasks", TASKS, 0, "t_mapping(t_uint64,t_struct(Task)_storage)"),
    ],
    structs: &[Struct {
        kind: "t_struct(Task)_storage",
        bytes: 192,
        members: &[
            variable("isResolved", 0, 0, "t_bool"),
            variable("time", 0, 1, "t_uint64"),
            variable("caller", 0, 9, "t_address"),
            variable("taskFee", 1, 0, "t_uint256"),
            variable("seed", 2, 0, "t_bytes32"),
            variable("clientSeed", 3, 0, "t_string_storage"),
            variable("proof", 4, 0, "t_bytes_storage"),
            variable("result", 5, 0, "t_bytes_storage"),
        ],
    }],
};

/// The V2 provider.
pub const PROVIDER_V2: Contract = Contract {
    name: "VRFProviderV2",
    functions: &[
        "bridge()",
        "getBlockLatestHash()",
        "getBlockTime()",
        "getChainID()",
        "getSeed(uint64,address,bytes32,uint256,uint256,string)",
        "hasClientSeed(address,string)",
        "minimumFee()",
        "oracleScriptID()",
        "owner()",
        "relayProof(bytes,uint64)",
        "renounceOwnership()",
        "requestRandomData(string)",
        "setBridge(address)",
        "setMinimumFee(uint256)",
        "setOracleScriptID(uint64)",
        "taskNonce()",
        "tasks(uint64)",
        "transferOwnership(address)",
    ],
    events: &[
        OWNERSHIP_TRANSFERRED,
        RANDOM_DATA_RELAYED,
        RANDOM_DATA_REQUESTED,
        SET_BRIDGE,
        SET_MINIMUM_FEE,
        SET_ORACLE_SCRIPT_ID,
    ],
    storage: &[
        variable("_owner", 0, 0, "t_address"),
        variable("_status", 1, 0, "t_uint256"),
        variable("bridge", 2, 0, "t_contract(IBridge)"),
        variable("oracleScriptID", 2, 20, "t_uint64"),
        variable("taskNonce", 3, 0, "t_uint64"),
        variable("minimumFee", 4, 0, "t_uint256"),
        variable("hasClientSeed", 5, 0, "t_mapping(t_address,t_mapping(t_string_memory_ptr,t_bool))"),
        variable("tasks", TASKS, 0, "t_mapping(t_uint64,t_struct(Task)_storage)"),
    ],
    structs: &[Struct {
        kind: "t_struct(Task)_storage",
        bytes: 160,
        members: &[
            variable("isResolved", 0, 0, "t_bool"),
            variable("time", 0, 1, "t_uint64"),
            variable("caller", 0, 9, "t_address"),
            variable("taskFee", 1, 0, "t_uint256"),
            variable("seed", 2, 0, "t_bytes32"),
            variable("result", 3, 0, "t_bytes32"),
            variable("clientSeed", 4, 0, "t_string_storage"),
        ],
    }],
};

const LENS_FUNCTIONS: &[&str] = &[
    "getProviderConfig()",
    "getTasksBulk(uint64[])",
    "owner()",
    "provider()",
    "renounceOwnership()",
    "setProvider(address)",
    "transferOwnership(address)",
];

const LENS_STORAGE: &[Variable] =
    &[variable("_owner", 0, 0, "t_address"), variable("provider", 1, 0, "t_contract(IVRFProviderViewOnly)")];

/// The bulk reader of a V1 provider.
pub const LENS_V1: Contract = Contract {
    name: "VRFLensV1",
    functions: LENS_FUNCTIONS,
    events: &[OWNERSHIP_TRANSFERRED],
    storage: LENS_STORAGE,
    structs: &[],
};

/// The bulk reader of a V2 provider.
pub const LENS_V2: Contract = Contract { name: "VRFLensV2", ..LENS_V1 };

/// The consumer that tests use.
pub const CONSUMER: Contract = Contract {
    name: "MockVRFConsumer",
    functions: &[
        CONSUME,
        "latestResult()",
        "latestSeed()",
        "latestTime()",
        "provider()",
        "requestRandomDataFromProvider(string)",
    ],
    events: &["Consume(string,uint64,bytes32)", "RandomDataRequested(address,string,uint256)"],
    storage: &[
        variable("latestSeed", 0, 0, "t_string_storage"),
        variable("latestTime", 1, 0, "t_uint64"),
        variable("latestResult", 2, 0, "t_bytes32"),
    ],
    structs: &[],
};

/// All contracts.
pub const ALL: [Contract; 6] = [BRIDGE, PROVIDER_V1, PROVIDER_V2, LENS_V1, LENS_V2, CONSUMER];

/// A consumer's callback.
pub const CONSUME: &str = "consume(string,uint64,bytes32)";
/// A task was made. Only the caller is indexed.
pub const RANDOM_DATA_REQUESTED: &str = "RandomDataRequested(uint64,uint64,address,bytes32,bytes32,uint256,uint256,string)";
/// A task was resolved. Only the caller is indexed.
pub const RANDOM_DATA_RELAYED: &str = "RandomDataRelayed(uint64,uint64,address,bytes32,bytes32,string)";
/// The provider uses another Bridge.
pub const SET_BRIDGE: &str = "SetBridge(address)";
/// The provider wants another oracle script.
pub const SET_ORACLE_SCRIPT_ID: &str = "SetOracleScriptID(uint64)";
/// The provider wants another fee.
pub const SET_MINIMUM_FEE: &str = "SetMinimumFee(uint256)";
/// A V1 provider wants another minimum count.
pub const SET_MIN_COUNT: &str = "SetMinCount(uint8)";
/// A V1 provider wants another ask count.
pub const SET_ASK_COUNT: &str = "SetAskCount(uint8)";
/// The owner has changed.
pub const OWNERSHIP_TRANSFERRED: &str = "OwnershipTransferred(address,address)";

/// Slot of the Bridge's mapping of relayed blocks.
const BLOCK_DETAILS: u64 = 2;
/// Slot of a provider's mapping of tasks.
const TASKS: u64 = 6;

/// The role that may change the Bridge's validators: the hash of its name.
pub fn validators_updater_role() -> B256 {
    keccak256("VALIDATORS_UPDATER_ROLE")
}

/// First slot of a relayed block in the Bridge's storage; see the struct `BlockDetail`.
pub fn block_detail_slot(height: U256) -> B256 {
    mapping_slot(height, BLOCK_DETAILS)
}

/// First slot of a task in a provider's storage; see the struct `Task`.
pub fn task_slot(nonce: u64) -> B256 {
    mapping_slot(U256::from(nonce), TASKS)
}

fn mapping_slot(key: U256, slot: u64) -> B256 {
    keccak256([key.to_be_bytes::<32>(), U256::from(slot).to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{b256, fixed_bytes};

    #[test]
    fn selectors_and_topics_of_the_protocol_document() {
        assert_eq!(selector("relayProof(bytes,uint64)"), fixed_bytes!("49c87958"));
        assert_eq!(selector(CONSUME), fixed_bytes!("159b97ff"));
        assert_eq!(topic(RANDOM_DATA_REQUESTED), b256!("5817091a90e1c4e7f8149c97f1186caf8632b9beed61aed854916334f7fe158d"));
        assert_eq!(topic(RANDOM_DATA_RELAYED), b256!("bb35e03f369500c47da299f2f157992432def6f457e32bf81db41dfd1e7cca9c"));
        assert_eq!(validators_updater_role(), b256!("5cb144f517c61bed024b858c42261fd1ab2fa79470cd001902b3a5a1b8693291"));
        let relay_block = BRIDGE.functions.iter().find(|signature| signature.starts_with("relayBlock")).copied();
        assert_eq!(relay_block.map(selector), Some(fixed_bytes!("af4b9107")));
    }
}
