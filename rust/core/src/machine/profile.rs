//! The configuration of a subsystem: switches between the behaviours of kernel versions, and the profiles that give
//! the switches their values.

use crate::base::error::Result;
use crate::base::limits::{MEMORY_PAGES_DEFAULT, ZSWAP_SHRINK_BATCH};
pub use crate::base::profile::Profile;
use crate::base::profile::switches;
use crate::base::words::{unknown_name, words};
use crate::cluster::FreeOrder;
use crate::machine::Writeback;
use crate::memcg::{Hierarchy, MemcgSwitches};
use crate::zswap::ZswapOptions;

// A new switch with two words needs an enum below, an entry here, and code that reads `switches.name`. The words of
// the switch, `set`, the error texts and the round trip test follow from the enum and the entry. A switch with the
// words "on" and "off" is a `bool` and needs no enum. A new switch also needs a row in docs/kernel-map.md
// (`Switches`), a line in CHANGELOG.md, and its words in the docs of `Swap.switches` of the Python package.
switches! {
    /// The switches, each with an effect that a caller can observe. A profile gives the default of each switch.
    pub struct Switches {
        /// Priorities of devices that are turned on without a priority.
        default_priority: DefaultPriority = DefaultPriority::MinusOne, V618 => DefaultPriority::Descending;
        /// Treatment of a hint (the slot at which a CPU's next search starts) whose cluster cannot serve the request.
        rule_u: RuleU = RuleU::Leave, Series => RuleU::Relocate;
        /// Devices whose pending discards an order-0 request runs before the request fails.
        sync_discard: SyncDiscard = SyncDiscard::Active, V618 | P3 => SyncDiscard::Avail;
        /// Order of the free list of a new device.
        free_order: FreeOrder = FreeOrder::Ascending;
        /// List of clusters that a request tries first.
        first_search: FirstSearch = FirstSearch::Nonfull;
        /// Method of the search for a hibernation slot.
        hibernation: Hibernation = Hibernation::Hint, V618 | P3 => Hibernation::Search;
        /// First check of a large swap-in.
        swapin_check: SwapinCheck = SwapinCheck::ZeroFirst;
        /// Permission of large swap-ins after zswap was enabled.
        zswap_large_swapin: ZswapLargeSwapin = ZswapLargeSwapin::UnlessStored,
            V618 | P3 | Series => ZswapLargeSwapin::Never;
        /// Slots that a fault reads from a device as fast as memory without the swap cache.
        sync_swapin: SyncSwapin = SyncSwapin::Always, V618 => SyncSwapin::Unshared;
        /// Entries that one attempt to shrink a group examines.
        zswap_shrink_scan: ZswapShrinkScan = ZswapShrinkScan::Batch, V618 | P3 | Series => ZswapShrinkScan::One;
        /// The folio of a writeback from zswap, after its write.
        zswap_written: ZswapWritten = ZswapWritten::Dropped, V618 | P3 | Series => ZswapWritten::Cached;
        /// Reclaim of a dirty folio in the swap cache that was never mapped.
        never_mapped_dirty: NeverMappedDirty = NeverMappedDirty::Written, V618 => NeverMappedDirty::Kept;
        /// Use of the first cluster of a ghost device.
        ghost_cluster0: GhostCluster0 = GhostCluster0::Listed, Series => GhostCluster0::Unlisted;
        /// Permission of large folios on ghost devices.
        ghost_large_orders: GhostLargeOrders = GhostLargeOrders::Allowed, Series => GhostLargeOrders::Refused;
        /// Outcome of a fault that gets no memory.
        oom: Oom = Oom::Fail;
        /// New folios are counted by their LRU lists in batches of 31 for each CPU. Without the switch a list counts
        /// each folio at once.
        lru_add_batch: bool = false;
    }
    with {
        /// Switches of memory cgroups: the place where the owners of slots are stored, the rules that depend on that
        /// place, and other options.
        memcg: MemcgSwitches
    }
}

impl Switches {
    /// Sets one switch by name. Errors: `UnknownName`, `OutOfRange` (EINVAL) for an unknown switch or word.
    pub fn set(&mut self, name: &str, word: &str) -> Result<()> {
        if self.set_if_known(name, word)? { Ok(()) } else { Err(unknown_name("switch", name, &Self::names())) }
    }
}

impl Profile {
    /// Returns the switches with the values of the profile.
    pub const fn switches(self) -> Switches {
        Switches::of(self)
    }
}

words! {
    /// Priorities of devices that are turned on without a priority.
    pub enum DefaultPriority: "default_priority" {
        /// Every such device gets -1, so such devices have equal priority and alternate. Kernel: 6.19 and later.
        MinusOne = "minus_one",
        /// Such devices get -2, -3, ... in turn, and a swapoff raises the automatic priorities below that of the
        /// removed device by 1. Kernel: up to 6.18.
        Descending = "descending",
    }
}

words! {
    /// Treatment of a hint (the slot at which a CPU's next search starts) whose cluster cannot serve the request.
    pub enum RuleU: "rule_u" {
        /// The hint and the cluster stay as they are.
        Leave = "leave",
        /// The hint is cleared, and the cluster moves to the list on which an unsuccessful scan would put the
        /// cluster.
        Relocate = "relocate",
    }
}

words! {
    /// Devices whose pending discards an order-0 request runs before the request fails.
    pub enum SyncDiscard: "sync_discard" {
        /// Devices with free slots.
        Avail = "avail",
        /// All devices that are on.
        Active = "active",
    }
}

words! {
    /// List of clusters that a request tries first.
    pub enum FirstSearch: "first_search" {
        /// The list of clusters with freed slots. Kernel: 6.18 and later.
        Nonfull = "nonfull",
        /// The list of empty clusters. Kernel: up to 6.17, and for a device with per-cluster discard.
        Free = "free",
    }
}

words! {
    /// Method of the search for a hibernation slot.
    pub enum Hibernation: "hibernation" {
        /// The order-0 hint of this CPU is tried first.
        Hint = "hint",
        /// The lists of clusters are searched each time.
        Search = "search",
    }
}

words! {
    /// First check of a large swap-in, before the folio is allocated. The first check decides between EBUSY and
    /// EEXIST when the zero marks of the range differ and the target slot is cached.
    pub enum SwapinCheck: "swapin_check" {
        /// The zero marks of the range are checked first, then the target slot. Kernel: the swap table series, phase
        /// IV, as posted.
        ZeroFirst = "zero_first",
        /// The target slot is checked first, then each slot of the range. Kernel: the swap table series, phase IV, as
        /// merged.
        TargetFirst = "target_first",
    }
}

words! {
    /// Permission of large swap-ins after zswap was enabled. The caller of a swap-in with explicit orders decides for
    /// itself.
    pub enum ZswapLargeSwapin: "zswap_large_swapin" {
        /// The orders of a swap-in do not depend on zswap. A range with a page in zswap is refused when the folio is
        /// inserted into the cache, so the swap-in falls back to a smaller order and counts `swpin_fallback`. Kernel:
        /// the merged swap table series, phase IV, with its later repairs.
        UnlessStored = "unless_stored",
        /// A fault, a file in memory and a handle swap in single pages from the first time that zswap was enabled,
        /// also when zswap is off again. No fallback is counted. Kernel: up to the merged swap table series, phase IV
        /// (`zswap_never_enabled`).
        Never = "never",
    }
}

words! {
    /// Slots for which a fault on a device as fast as memory reads a large folio, reads no neighbours ahead, and gives
    /// the slots up at once.
    pub enum SyncSwapin: "sync_swapin" {
        /// All slots. The slots are given up when the last page table entry that refers to them is gone. Kernel: 6.19
        /// and later.
        Always = "always",
        /// Slots to which only the faulting page table entry refers. A slot with more references is read as on any
        /// other device: as a single page, with readahead, into the swap cache, where the slot stays. Kernel:
        /// `do_swap_page` of 6.18 and before, which bypasses the swap cache for an unshared slot.
        Unshared = "unshared",
    }
}

words! {
    /// Entries that one attempt to shrink a group in zswap examines.
    ///
    /// An attempt that only takes second chances away has failed, and the worker gives up after 16 failures. So with
    /// `one` a full zswap writes nothing back until the worker ran once for each 16 entries that have their second
    /// chance.
    pub enum ZswapShrinkScan: "zswap_shrink_scan" {
        /// One entry.
        One = "one",
        /// Up to 32 entries. Kernel: 7.x.
        Batch = "batch",
    }
}

impl ZswapShrinkScan {
    /// Returns the number of entries.
    pub(crate) fn nr_entries(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Batch => ZSWAP_SHRINK_BATCH,
        }
    }
}

words! {
    /// The folio of a writeback from zswap, after its write.
    pub enum ZswapWritten: "zswap_written" {
        /// The folio stays in the swap cache, charged to its group, until reclaim frees the folio. A folio that the
        /// refault does not make active moves to the tail of the inactive list.
        Cached = "cached",
        /// The folio is removed from the swap cache and freed. Kernel: 7.x.
        Dropped = "dropped",
    }
}

words! {
    /// Reclaim of a dirty folio in the swap cache that was never mapped: a page that was read ahead from zswap, which
    /// keeps no copy of a page that was read, or a page whose writeback from zswap failed.
    pub enum NeverMappedDirty: "never_mapped_dirty" {
        /// The folio is written as any other dirty folio.
        Written = "written",
        /// Reclaim makes the folio active, so the folio stays in memory until a fault maps the folio, its slot is freed
        /// or the device is turned off. This is a defect of the kernel, whose reclaim writes anonymous folios and
        /// folios of files in memory, and such a folio is neither. Kernel: 6.18.
        Kept = "kept",
    }
}

words! {
    /// Use of the first cluster of a ghost device.
    pub enum GhostCluster0: "ghost_cluster0" {
        /// The cluster starts on the list of partly used clusters, as on any other device. Kernel: the swap
        /// table series, phase IV, as merged.
        Listed = "listed",
        /// The cluster is on no list, so its slots count as slots of the device but are never handed out. Kernel: the
        /// swap table series, phase IV, as posted.
        Unlisted = "unlisted",
    }
}

words! {
    /// Permission of large folios on ghost devices.
    pub enum GhostLargeOrders: "ghost_large_orders" {
        /// Large folios are allowed, as on a block device. Kernel: the swap table series, phase IV, as merged.
        Allowed = "allowed",
        /// Large folios are refused, as on a regular file. A device with a virtual table allows large folios in any
        /// case. Kernel: the swap table series, phase IV, as posted.
        Refused = "refused",
    }
}

words! {
    /// Outcome of a fault of an address space that gets no memory although reclaim ran.
    pub enum Oom: "oom" {
        /// The access fails, and no task ends.
        Fail = "fail",
        /// The OOM killer ends the task with the most pages, and the fault is repeated unless its own task is ended.
        /// Kernel: the OOM killer.
        Kill = "kill",
    }
}

words! {
    /// Time at which queued work (reclaim_work, discard_work) runs.
    #[derive(Default)]
    pub enum Workers: "workers" {
        /// On the thread of the operation that queued the work, right after the operation.
        #[default]
        Inline = "inline",
        /// In [`Swap::run_workers`] only.
        Manual = "manual",
    }
}

/// The configuration of a subsystem. `Default` has one CPU and the newest profile.
#[derive(Debug)]
pub struct Config {
    /// Number of CPUs, 1..=[`crate::base::limits::MAX_CPUS`].
    pub nr_cpus: usize,
    /// The kernel version whose behaviour is the default of each switch.
    pub profile: Profile,
    /// The value of each switch. `Config::new` sets the values of the profile, and a caller may change each value.
    pub switches: Switches,
    /// Time at which queued work runs.
    pub workers: Workers,
    /// Time at which a write to a device is over.
    pub writeback: Writeback,
    /// Number of pages in the memory that all folios share.
    pub memory_pages: u64,
    /// The hierarchy of the memory controller. `None` disables memcg.
    pub memcg: Option<Hierarchy>,
    /// Name of the lists of reclaim and of the rule for refaults: `classic` (active and inactive lists) or `mglru`
    /// (generations).
    pub workingset: String,
    /// Options of zswap. With `Some`, zswap is on from the start; with `None`, zswap is off until a caller turns
    /// zswap on.
    pub zswap: Option<ZswapOptions>,
    /// Size in slots of a hidden virtual device, which is on from the start and which allocation tries before all
    /// other devices; `None` for no such device. Kernel: the only `vswap` device, which is always there.
    pub virtual_pages: Option<u32>,
}

impl Config {
    /// Returns the configuration with `nr_cpus` CPUs and the switches of a profile.
    pub fn new(nr_cpus: usize, profile: Profile) -> Self {
        let (switches, workers) = (profile.switches(), Workers::default());
        Self {
            nr_cpus,
            profile,
            switches,
            workers,
            writeback: Writeback::default(),
            memory_pages: MEMORY_PAGES_DEFAULT,
            memcg: None,
            workingset: "classic".into(),
            zswap: None,
            virtual_pages: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(1, Profile::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_every_profile_can_be_set_again() {
        for &profile in Profile::ALL {
            let mut switches = Profile::default().switches();
            for (switch, word) in profile.switches().words() {
                switches.set(switch, &word).expect("a listed word");
            }
            assert_eq!(switches, profile.switches());
        }
    }

    #[test]
    fn profiles_have_the_owner_store_and_the_zswap_rule_of_their_kernel() {
        let words = |profile: Profile| {
            let words = profile.switches().words();
            ["owner_store", "rfc_literal", "zswap_large_swapin"]
                .map(|switch| words.iter().find(|(name, _)| *name == switch).expect("a switch").1.clone())
        };
        assert_eq!(words(Profile::V618), ["array", "off", "never"]);
        assert_eq!(words(Profile::P3), ["array", "off", "never"]);
        assert_eq!(words(Profile::Series), ["shadow", "off", "never"]);
        assert_eq!(words(Profile::Newest), ["shadow", "off", "unless_stored"]);
    }

    #[test]
    fn unknown_words_are_refused() {
        let mut switches = Profile::Newest.switches();
        assert!(switches.set("rule_u", "maybe").is_err());
        assert!(switches.set("rule_v", "leave").is_err());
        assert!(Profile::from_name("v2.6").is_err());
    }
}
