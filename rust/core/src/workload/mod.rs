//! Workloads: strategies compared on recorded traces, replays with data, stress.

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
