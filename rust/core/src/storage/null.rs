//! The storage of a device that keeps no page data.

use super::SwapStorage;
use crate::base::error::Result;
use crate::base::types::SwpOffset;
use crate::storage::spec::DeviceSpec;

/// A storage that drops all written data and reads zeros, for callers that use only slots. Kernel: like `null_blk`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Null {
    spec: DeviceSpec,
}

impl Null {
    /// Makes a storage for a device with the description `spec`.
    pub fn new(spec: DeviceSpec) -> Self {
        Self { spec }
    }
}

impl SwapStorage for Null {
    fn kind(&self) -> &'static str {
        "null"
    }

    fn spec(&self) -> DeviceSpec {
        self.spec.clone()
    }

    fn keeps_data(&self) -> bool {
        false
    }

    fn write(&self, _first: SwpOffset, _data: &[u8]) -> Result<()> {
        Ok(())
    }

    fn read(&self, _first: SwpOffset, data: &mut [u8]) -> Result<()> {
        data.fill(0);
        Ok(())
    }
}
