//! Recorded and made-up work: strategies side by side, replays of traces, stress.

pub mod replay;
pub mod strategy;
pub mod stress;
