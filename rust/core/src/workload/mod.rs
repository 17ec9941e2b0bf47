//! Workloads that exercise the allocator. `strategy` has the allocators that `swapcore compare` compares, `replay`
//! replays recorded workloads, and `stress` lets many threads allocate and free slots.

use crate::base::error::{Result, SwapError};

pub mod replay;
pub mod strategy;
pub mod stress;

/// Checks that a number is in `low..=high`. Errors: `OutOfRange` (EINVAL).
fn check_range(what: &'static str, value: u64, low: u64, high: u64) -> Result<()> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(SwapError::OutOfRange { what, value: value.into(), low, high })
    }
}
