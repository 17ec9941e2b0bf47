//! Devices come, go and change their size.

mod boot;
pub(crate) mod resize;
pub(crate) mod swapoff;
pub(crate) mod swapon;
