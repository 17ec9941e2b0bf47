//! The life of a subsystem and its devices: making a subsystem, turning devices on and off, resizing them.

pub(crate) mod resize;
pub(crate) mod swapoff;
pub(crate) mod swapon;
