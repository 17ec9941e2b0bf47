//! What a device is made from: size, bad pages, and the properties that decide placement.

use crate::base::error::{Result, SwapError};
use crate::base::limits::MAX_PRIORITY;
use crate::base::words::words;

words! {
    /// Which discards are wanted, given a device that can discard. Kernel: the `SWAP_FLAG_DISCARD*` flags.
    #[derive(Default)]
    pub enum Discard: "discard" {
        /// None.
        #[default]
        None = "none",
        /// Everything at swapon.
        Once = "once",
        /// Every cluster that empties.
        Pages = "pages",
        /// Both.
        Both = "both",
    }
}

words! {
    /// Who counts a ghost device's slots as swap space.
    #[derive(Default)]
    pub enum Visibility: "visibility" {
        /// Shown, and counted in every total. Kernel: as posted.
        #[default]
        Visible = "visible",
        /// Shown without a size, counted nowhere.
        Listed = "listed",
        /// Neither shown nor counted. Kernel: as merged.
        Hidden = "hidden",
    }
}

/// What a device without storage is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostSpec {
    /// Each slot has a second word that says where its page is: the device is virtual, and folios go there first.
    pub has_virtual_table: bool,
    /// Who counts its slots.
    pub visibility: Visibility,
}

/// What swapon needs to know about a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceSpec {
    /// Size in slots, header included.
    pub max_pages: u32,
    /// Slots never to be used.
    pub bad_pages: Vec<u32>,
    /// Seeks cost: one position for all CPUs.
    pub is_rotational: bool,
    /// A whole block device, not a regular file.
    pub is_block_device: bool,
    /// The device understands discards.
    pub can_discard: bool,
    /// Discards wanted.
    pub discard: Discard,
    /// 0..=32767, or `None` for the profile's default rule.
    pub priority: Option<i16>,
    /// No storage, and clusters that come and go.
    pub ghost: Option<GhostSpec>,
}

impl DeviceSpec {
    /// A solid-state block device of a size, with the default priority.
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
