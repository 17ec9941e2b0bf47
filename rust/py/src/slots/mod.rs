//! Entries of slots and runs, batches of entries, and arguments that are entries.

pub(crate) mod args;
pub(crate) mod batch;
pub(crate) mod entry;
