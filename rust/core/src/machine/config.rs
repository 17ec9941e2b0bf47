//! The choices that a subsystem is made with.

use super::profile::{Profile, Switches};
use crate::base::limits::MEMORY_PAGES_DEFAULT;
use crate::base::words::words;
use crate::memcg::Hierarchy;
use crate::zswap::ZswapOptions;

words! {
    /// When queued work (reclaim_work, discard_work) runs.
    #[derive(Default)]
    pub enum Workers: "workers" {
        /// On the same thread, right after the operation that queued the work.
        #[default]
        Inline = "inline",
        /// In [`Swap::run_workers`] only.
        Manual = "manual",
    }
}

/// All choices that a subsystem is made with. `Default` is one CPU and the newest profile.
#[derive(Debug)]
pub struct Config {
    /// Number of CPUs, 1..=[`crate::base::limits::MAX_CPUS`].
    pub nr_cpus: usize,
    /// The kernel version whose behaviour is the default of each switch.
    pub profile: Profile,
    /// The value of each switch. A profile sets them; each may be changed.
    pub switches: Switches,
    /// When queued work runs.
    pub workers: Workers,
    /// Pages of memory that all folios share.
    pub memory_pages: u64,
    /// The hierarchy of the memory controller. `None` disables memcg.
    pub memcg: Option<Hierarchy>,
    /// The lists of reclaim and the rule of refaults: `classic` (active and inactive) or `mglru` (generations).
    pub workingset: String,
    /// Options of zswap, which is on from the start. With `None` zswap is off until it is turned on.
    pub zswap: Option<ZswapOptions>,
}

impl Config {
    /// Returns the choices of a profile.
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
