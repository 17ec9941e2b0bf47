//! The description of a device: the size, the bad pages, and the properties that decide where the allocator places
//! runs.

use crate::base::error::{Result, SwapError};
use crate::base::limits::MAX_PRIORITY;
use crate::base::words::words;

words! {
    /// Kinds of discards that swapon requests on a device that can discard. Kernel: the `SWAP_FLAG_DISCARD*` flags.
    #[derive(Default)]
    pub enum Discard: "discard" {
        /// swapon requests no discards.
        #[default]
        None = "none",
        /// swapon discards the whole device.
        Once = "once",
        /// Each cluster is discarded when the cluster becomes empty.
        Pages = "pages",
        /// swapon discards the whole device, and each cluster is discarded when the cluster becomes empty.
        Both = "both",
    }
}

words! {
    /// Whether totals and listings include a ghost's slots.
    #[derive(Default)]
    pub enum Visibility: "visibility" {
        /// The slots are listed, and counted in every total. Kernel: the swap table series, phase IV, as posted.
        #[default]
        Visible = "visible",
        /// The slots are listed without a size, and counted in no total.
        Listed = "listed",
        /// The slots are neither listed nor counted. Kernel: the swap table series, phase IV, as merged.
        Hidden = "hidden",
    }
}

/// The properties of a ghost, which is a device without a place for pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostSpec {
    /// Whether each slot has a virtual word. A virtual word records the place of the slot's data. A device with
    /// virtual words is a virtual device, and the allocator tries virtual devices first for a folio.
    pub has_virtual_table: bool,
    /// Whether totals and listings include the slots of the ghost.
    pub visibility: Visibility,
}

/// The description of a device, which is an argument of swapon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceSpec {
    /// Size in slots, header included.
    pub max_pages: u32,
    /// Numbers of the slots that are never used.
    pub bad_pages: Vec<u32>,
    /// Whether the device is rotational. All CPUs share one allocation position on a rotational device, because
    /// several positions would cause seeks.
    pub is_rotational: bool,
    /// Whether the device is a whole block device. `false` means a regular file.
    pub is_block_device: bool,
    /// Whether the device supports discards.
    pub can_discard: bool,
    /// The discards that swapon requests.
    pub discard: Discard,
    /// Priority, 0..=32767. `None` selects the profile's rule for automatic priorities.
    pub priority: Option<i16>,
    /// The properties of a ghost, or `None` for a device with a place for pages. A cluster of a ghost exists only
    /// while the cluster is in use.
    pub ghost: Option<GhostSpec>,
}

impl DeviceSpec {
    /// Makes the description of a solid-state block device, with an automatic priority.
    pub fn new(max_pages: u32) -> Self {
        Self {
            max_pages,
            bad_pages: Vec::new(),
            is_rotational: false,
            is_block_device: true,
            can_discard: false,
            discard: Discard::None,
            priority: None,
            ghost: None,
        }
    }

    /// Sets the priority.
    pub fn priority(self, priority: i16) -> Self {
        Self { priority: Some(priority), ..self }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let last_page = self.max_pages.saturating_sub(1);
        if last_page == 0 {
            return Err(SwapError::DeviceTooSmall(self.max_pages));
        }
        if self.ghost.is_some() && (self.is_block_device || self.is_rotational || self.can_discard) {
            return Err(SwapError::Conflict("a ghost device is no block device, does not rotate and discards nothing"));
        }
        if !self.is_block_device && !self.bad_pages.is_empty() {
            return Err(SwapError::BadPagesOnFile(self.bad_pages.len()));
        }
        if let Some(priority) = self.priority.filter(|priority| !(0..=MAX_PRIORITY).contains(priority)) {
            return Err(SwapError::BadPriority(priority.into()));
        }
        match self.bad_pages.iter().find(|&&page| page == 0 || page > last_page) {
            Some(&page) => Err(SwapError::BadPageOutOfRange { page, last_page }),
            None => Ok(()),
        }
    }
}
