//! The Python classes `SwpEntry`, which names a slot or a run, and `SwapBatch`, which has many entries; and the
//! conversion of arguments that are entries.

pub(crate) mod args;
pub(crate) mod batch;
pub(crate) mod entry;
