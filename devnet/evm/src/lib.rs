//! windlass-devnet-evm
