//! Reports of the state: counters, dumps, and the invariants that hold at any time.

pub mod check;
pub mod dump;
pub(crate) mod stats;
