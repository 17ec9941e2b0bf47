//! Reports of the state of a subsystem: counters, dumps, and checks of the invariants that hold at any time.

pub mod check;
pub mod dump;
pub(crate) mod stats;
