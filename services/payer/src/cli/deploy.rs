//! Compatible one-shot command: deploy.
