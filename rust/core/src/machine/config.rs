//! The choices that a subsystem is made with.

use super::profile::{Profile, Switches};
use crate::base::error::{Result, SwapError};
use crate::base::limits::MEMORY_PAGES_DEFAULT;
use crate::memcg::Hierarchy;
use crate::zswap::ZswapOptions;

/// When queued work (reclaim_work, discard_work) runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Workers {
    /// Right after the operation that queued it, on the same thread.
    #[default]
    Inline,
    /// Only in [`Swap::run_workers`].
    Manual,
}

impl Workers {
    /// Finds a mode by name. Errors: `UnknownName` (EINVAL).
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "inline" => Ok(Self::Inline),
            "manual" => Ok(Self::Manual),
            _ => Err(SwapError::UnknownName { what: "workers", name: name.into(), known: "inline, manual" }),
        }
    }
}

/// Everything that may be chosen when a subsystem is made; `Default` is one CPU of the newest profile.
#[derive(Debug)]
pub struct Config {
    /// CPUs, 1..=[`crate::base::limits::MAX_CPUS`].
    pub nr_cpus: usize,
    /// Name of the kernel meant.
    pub profile: Profile,
    /// Its choices, or others.
    pub switches: Switches,
    /// When queued work runs.
    pub workers: Workers,
    /// Pages of memory that folios may have together.
    pub memory_pages: u64,
    /// The hierarchy of the memory controller; `None` is memcg disabled.
    pub memcg: Option<Hierarchy>,
    /// Lists of reclaim and rule of refaults: `classic` (active and inactive) or `mglru` (generations).
    pub workingset: String,
    /// zswap from the start; `None` is zswap that is off until it is turned on.
    pub zswap: Option<ZswapOptions>,
}

impl Config {
    /// The choices of a profile.
    pub fn new(nr_cpus: usize, profile: Profile) -> Self {
        let (switches, workers) = (profile.switches(), Workers::default());
        Self {
            nr_cpus,
            profile,
            switches,
            workers,
            memory_pages: MEMORY_PAGES_DEFAULT,
            memcg: None,
            workingset: "classic".into(),
            zswap: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(1, Profile::default())
    }
}
