//! The description of a device: size, bad pages, and the properties that decide placement.

use crate::base::error::{Result, SwapError};
use crate::base::limits::MAX_PRIORITY;
use crate::base::words::words;

words! {
    /// Kinds of discards that swapon requests on a device that can discard. Kernel: the `SWAP_FLAG_DISCARD*` flags.
    #[derive(Default)]
    pub enum Discard: "discard" {
        /// No discards.
        #[default]
        None = "none",
        /// The whole device at swapon.
        Once = "once",
        /// Each cluster that empties.
        Pages = "pages",
        /// The whole device at swapon, and each cluster that empties.
        Both = "both",
    }
}

words! {
    /// Whether totals and listings include a ghost's slots.
    #[derive(Default)]
    pub enum Visibility: "visibility" {
        /// The slots are listed, and counted in every total. Kernel: the series as posted.
        #[default]
        Visible = "visible",
        /// The slots are listed without a size, and counted in no total.
        Listed = "listed",
        /// The slots are neither listed nor counted. Kernel: the series as merged.
        Hidden = "hidden",
    }
}

/// The description of a device without storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostSpec {
    /// Each slot has a virtual word, which records where the data of the slot is. Such a device is virtual, and
    /// folios try virtual devices first.
    pub has_virtual_table: bool,
    /// Whether totals and listings include the slots.
    pub visibility: Visibility,
}

/// The description of a device, as swapon takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceSpec {
    /// Size in slots, header included.
    pub max_pages: u32,
    /// Slots that are never used.
    pub bad_pages: Vec<u32>,
    /// The device seeks, so all CPUs share one position.
    pub is_rotational: bool,
    /// The device is a whole block device, not a regular file.
    pub is_block_device: bool,
    /// The device supports discards.
    pub can_discard: bool,
    /// Discards to use.
    pub discard: Discard,
    /// Priority, 0..=32767. `None` selects the profile's rule for automatic priorities.
    pub priority: Option<i16>,
    /// A device without storage, whose clusters exist only while they are used.
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
