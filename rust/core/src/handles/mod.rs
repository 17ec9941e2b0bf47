//! Reference-counted handles to folios and groups, for callers that cannot hold borrows.

pub mod folio;
mod group;

pub use group::GroupHandle;
