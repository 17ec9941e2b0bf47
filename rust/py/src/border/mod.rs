//! The conversions between Python and Rust: numbers, strings, buffers, errors, exceptions of hooks, signals.

#[macro_use]
mod macros;

pub(crate) mod buffer;
pub(crate) mod build;
pub(crate) mod calls;
pub(crate) mod convert;
pub(crate) mod errors;
pub(crate) mod number;
pub(crate) mod signals;
