//! One slot or run, many of them, and both as arguments.

pub(crate) mod args;
pub(crate) mod batch;
pub(crate) mod entry;
