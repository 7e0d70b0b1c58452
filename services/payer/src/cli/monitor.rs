//! Compatible one-shot command: monitor.
