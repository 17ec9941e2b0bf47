//! The whole way of one folio: out of memory, back into it, and from zswap to a device.

pub mod swapin;
pub mod swapout;
pub(crate) mod zswap_writeback;
