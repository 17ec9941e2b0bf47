//! Workloads: strategies compared on recorded traces, replays with data, stress.

pub mod replay;
pub mod strategy;
pub mod stress;
