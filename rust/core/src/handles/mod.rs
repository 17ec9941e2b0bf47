//! Handles that have a reference to a folio or to a group, for callers that cannot hold Rust borrows.

pub mod folio;
mod group;

pub use group::GroupHandle;
