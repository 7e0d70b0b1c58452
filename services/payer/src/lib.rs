//! Guard of payment agreements: watches that a keyper set is paid and stops its service when it is not.
pub mod cli;
pub mod machine;
pub mod protocol;
