//! Making a subsystem: its parts, and the writeback of zswap that the folders below call.

use crate::base::error::Result;
use crate::machine::profile::Profile;
use crate::machine::{Config, Swap};
use crate::swapping::ZSWAP_WRITEBACK;

impl Swap {
    /// Makes a subsystem without devices. Errors: `BadNrCpus` (EINVAL).
    pub fn new(nr_cpus: usize, profile: Profile) -> Result<Self> {
        Self::with_config(Config::new(nr_cpus, profile))
    }

    /// Makes a subsystem with given choices. Errors: `BadNrCpus`, `OutOfRange` memory, `UnknownName` (EINVAL).
    pub fn with_config(config: Config) -> Result<Self> {
        Self::assemble(config, &ZSWAP_WRITEBACK)
    }
}
