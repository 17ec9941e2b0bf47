//! The whole way of one folio: out of memory, back into it, from zswap to a device, and from one device to another.

pub(crate) mod move_backing;
pub mod swapin;
pub mod swapout;
mod workers;
mod zswap_writeback;

pub(crate) use zswap_writeback::ZSWAP_WRITEBACK;
