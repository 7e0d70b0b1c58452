//! Compatible one-shot command: env.
