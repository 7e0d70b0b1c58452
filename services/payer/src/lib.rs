//! windlass-payer
