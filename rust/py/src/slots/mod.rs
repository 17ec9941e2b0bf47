//! Python classes for entries of slots and runs and for batches of entries, and arguments that are entries.

pub(crate) mod args;
pub(crate) mod batch;
pub(crate) mod entry;
