//! A BandChain simulator.
