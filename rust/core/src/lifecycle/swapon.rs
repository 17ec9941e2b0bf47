//! The creation of a subsystem, and the swapon of a device.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::error::{Result, SwapError};
use crate::base::limits::{MAX_PRIORITY, MAX_SWAPFILES};
use crate::base::types::{SwpOffset, SwpType};
use crate::machine::device::{DeviceRules, SwapDevice, SwpFlags};
use crate::machine::profile::{DefaultPriority, Profile};
use crate::machine::{ActiveDevices, Config, Swap};
use crate::storage::spec::{DeviceSpec, Discard, GhostSpec, Visibility};
use crate::storage::{Ghost, Null, SwapStorage};
use crate::swapping::ZSWAP_WRITEBACK;

impl Swap {
    /// Makes a subsystem without devices. Errors: `BadNrCpus` (EINVAL).
    pub fn new(nr_cpus: usize, profile: Profile) -> Result<Self> {
        Self::with_config(Config::new(nr_cpus, profile))
    }

    /// Makes a subsystem from a configuration. Errors: `BadNrCpus`, `UnknownName`, `OutOfRange` for the pages of
    /// memory, `DeviceTooSmall` for `virtual_pages` below 2 (EINVAL); `NoMemory` (ENOMEM).
    pub fn with_config(config: Config) -> Result<Self> {
        let virtual_pages = config.virtual_pages;
        let swap = Self::assemble(config, &ZSWAP_WRITEBACK)?;
        if let Some(max_pages) = virtual_pages {
            let spec = GhostSpec { has_virtual_table: true, visibility: Visibility::Hidden };
            // The hidden device gets an explicit priority, because an automatic priority would lower the automatic
            // priorities of later devices.
            swap.swapon_storage(Arc::new(Ghost::new(max_pages, spec)?), Some(MAX_PRIORITY), Discard::None)?;
        }
        Ok(swap)
    }

    /// Turns on a device that keeps no data; see [`Swap::swapon_storage`].
    pub fn swapon(&self, spec: &DeviceSpec) -> Result<Arc<SwapDevice>> {
        let storage: Arc<dyn SwapStorage> = match spec.ghost {
            None => Arc::new(Null::new(spec.clone())),
            Some(ghost) => Arc::new(Ghost::new(spec.max_pages, ghost)?),
        };
        self.swapon_with(spec, storage)
    }

    /// Turns a device on. Kernel: `swapon`.
    ///
    /// The caller chooses `priority` and `discard`; the storage states all other properties. A storage backs at most
    /// one device at a time in this process, across all subsystems.
    ///
    /// Errors, with nothing changed: `TooManySwapfiles` (EPERM); `StorageInUse` (EBUSY); the EINVAL errors for a bad
    /// spec; `NoMemory` (ENOMEM). Locks: `swap_lock`, then each CPU's local lock in turn, then the avail lock.
    pub fn swapon_storage(
        &self,
        storage: Arc<dyn SwapStorage>,
        priority: Option<i16>,
        discard: Discard,
    ) -> Result<Arc<SwapDevice>> {
        let spec = DeviceSpec { priority, discard, ..storage.spec() };
        self.swapon_with(&spec, storage)
    }

    fn swapon_with(&self, spec: &DeviceSpec, storage: Arc<dyn SwapStorage>) -> Result<Arc<SwapDevice>> {
        let mut active = self.active();
        let free = active.devices.iter().position(Option::is_none).ok_or(SwapError::TooManySwapfiles)?;
        debug_assert!(free < MAX_SWAPFILES);
        let ty = SwpType(free as u8);
        let prio = self.priority_for(&active, spec);
        let rules = DeviceRules { switches: &self.switches, owners: self.owner_form() };
        let device = Arc::new(SwapDevice::new(ty, spec, storage, prio, rules)?);
        if device.has(SwpFlags::AREA_DISCARD) {
            // A failed discard is ignored, because discard is advisory.
            let _ = device.storage().discard(SwpOffset(1), device.max_pages() - 1);
        }
        if spec.priority.is_none() {
            active.least_priority = prio;
        }
        active.devices[free] = Some(device.clone());
        self.note_kind(&device);
        // Relaxed: a thread that finds the device in its CPU's table took that CPU's local lock after this store.
        self.nr_types.fetch_max(free + 1, Ordering::Relaxed);
        self.locals.for_each(|local| local.devices[free] = Some(device.clone()));
        // Relaxed: see `has_rotational`.
        self.nr_rotational.fetch_add(usize::from(spec.is_rotational), Ordering::Relaxed);
        // Relaxed: a request that reads the old number does not see the new virtual device and uses another device.
        self.nr_virtual.fetch_add(usize::from(device.is_virtual()), Ordering::Relaxed);
        self.enable(&device);
        Ok(device)
    }

    fn priority_for(&self, active: &ActiveDevices, spec: &DeviceSpec) -> i32 {
        match (spec.priority, self.switches.default_priority) {
            (Some(priority), _) => priority.into(),
            (None, DefaultPriority::MinusOne) => -1,
            (None, DefaultPriority::Descending) => active.least_priority - 1,
        }
    }

    /// Opens a device to allocation. Kernel: `_enable_swap_info`.
    pub(crate) fn enable(&self, device: &SwapDevice) {
        let (prio, ty) = (device.prio(), device.ty());
        self.count_pages(device);
        let mut avail = self.avail.lock();
        avail.active.add(prio, ty);
        device.set_writeok(true);
        // A device that a failed swapoff turns on again may be full. A full device is not on the list of available
        // devices.
        if device.clusters.are_all_full() {
            avail.remove(device);
        } else {
            avail.add(device);
        }
    }
}
