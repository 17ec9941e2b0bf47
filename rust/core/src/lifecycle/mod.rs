//! Devices come, go and change their size.

pub(crate) mod resize;
pub(crate) mod swapoff;
pub(crate) mod swapon;
