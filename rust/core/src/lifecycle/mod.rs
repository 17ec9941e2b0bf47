//! The life of a subsystem and its devices: this folder makes a subsystem, turns devices on and off, and resizes
//! devices.

pub(crate) mod resize;
pub(crate) mod swapoff;
pub(crate) mod swapon;
