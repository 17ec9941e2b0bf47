//! The lowest layer: limits, index newtypes, enums with names, events, the only error type, and locks.

pub mod error;
pub mod event;
pub mod gfp;
pub mod limits;
pub mod profile;
pub(crate) mod sync;
pub mod types;
pub(crate) mod words;
pub mod zero;
