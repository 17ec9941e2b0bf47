//! The lowest layer: limits, index newtypes, the only error type, locks, and small containers that do not depend on
//! swap.

pub mod error;
pub mod event;
pub mod gfp;
pub(crate) mod index_list;
pub mod limits;
pub(crate) mod orders;
pub(crate) mod percpu;
pub(crate) mod pieces;
pub(crate) mod plist;
pub mod profile;
pub(crate) mod sync;
pub mod types;
pub(crate) mod words;
pub mod zero;
pub(crate) mod zeroed;
