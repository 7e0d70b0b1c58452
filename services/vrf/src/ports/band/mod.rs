//! BandChain as the relay sees it: one trait, and its clients over gRPC, REST and CometBFT RPC.
