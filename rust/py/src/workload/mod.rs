//! Recorded workloads, the strategies (slot allocators) that replay them, and the stress run.

pub(crate) mod accesses;
pub(crate) mod strategy;
pub(crate) mod stress;
pub(crate) mod trace;
