//! The choices that a subsystem is made with: switches between kernels, and the profiles that set them.

use crate::base::error::Result;
use crate::base::limits::MEMORY_PAGES_DEFAULT;
pub use crate::base::profile::Profile;
use crate::base::profile::switches;
use crate::base::words::{unknown_name, words};
use crate::cluster::FreeOrder;
use crate::memcg::{Hierarchy, MemcgSwitches};
use crate::zswap::ZswapOptions;

// A new switch with two words is an enum below, an entry here, and the code that reads `switches.name`. Its words,
// `set`, the error texts and the round trip test follow from these two. A switch of "on" and "off" is a `bool` and
// needs no enum. The switch also needs a row in docs/kernel-map.md (`Switches`), a line in CHANGELOG.md, and its
// words in the docs of `Swap.switches` of the Python package.
switches! {
    /// The choices of behaviour with an effect that a caller can observe. A profile gives the defaults.
    pub struct Switches {
        /// Priorities of devices that are turned on without one.
        default_priority: DefaultPriority = DefaultPriority::MinusOne, V618 => DefaultPriority::Descending;
        /// Handling of a hint whose cluster cannot serve the request.
        rule_u: RuleU = RuleU::Leave, Series => RuleU::Relocate;
        /// Devices whose pending discards a failing request runs.
        sync_discard: SyncDiscard = SyncDiscard::Active, V618 | P3 => SyncDiscard::Avail;
        /// Order of a fresh device's free list.
        free_order: FreeOrder = FreeOrder::Ascending;
        /// List that a request tries first.
        first_search: FirstSearch = FirstSearch::Nonfull;
        /// Search for a hibernation slot.
        hibernation: Hibernation = Hibernation::Hint, V618 | P3 => Hibernation::Search;
        /// First check of a large swap-in.
        swapin_check: SwapinCheck = SwapinCheck::ZeroFirst;
        /// Use of a ghost's first cluster.
        ghost_cluster0: GhostCluster0 = GhostCluster0::Listed, Series => GhostCluster0::Unlisted;
        /// Large folios on ghosts.
        ghost_large_orders: GhostLargeOrders = GhostLargeOrders::Allowed, Series => GhostLargeOrders::Refused;
    }
    with {
        /// Owners of slots, and the rules that depend on them.
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
    /// Returns the switches of the profile.
    pub const fn switches(self) -> Switches {
        Switches::of(self)
    }
}

words! {
    /// Priorities of devices that are turned on without one.
    pub enum DefaultPriority: "default_priority" {
        /// Every such device gets -1, so these devices are equal and alternate. From 6.19 on.
        MinusOne = "minus_one",
        /// The devices get -2, -3, ... in turn, and a swapoff raises the priorities below the priority of its device.
        /// Up to 6.18.
        Descending = "descending",
    }
}

words! {
    /// Handling of a hint whose cluster cannot serve the request.
    pub enum RuleU: "rule_u" {
        /// Hint and cluster stay as they are.
        Leave = "leave",
        /// The hint is cleared, and the cluster moves to the list where an unsuccessful scan would put it.
        Relocate = "relocate",
    }
}

words! {
    /// Devices whose pending discards a failing order-0 request runs.
    pub enum SyncDiscard: "sync_discard" {
        /// Devices with room.
        Avail = "avail",
        /// All devices that are on.
        Active = "active",
    }
}

words! {
    /// List that a request tries first.
    pub enum FirstSearch: "first_search" {
        /// Clusters with freed slots. From 6.18 on.
        Nonfull = "nonfull",
        /// Empty clusters. Up to 6.17, and with per-cluster discard.
        Free = "free",
    }
}

words! {
    /// Search for a hibernation slot.
    pub enum Hibernation: "hibernation" {
        /// This CPU's order-0 hint is tried first.
        Hint = "hint",
        /// The lists are searched each time.
        Search = "search",
    }
}

words! {
    /// First check of a large swap-in. The switch decides between EBUSY and EEXIST when zero marks differ and the
    /// target is cached.
    pub enum SwapinCheck: "swapin_check" {
        /// The zero marks of the range, then the target. As posted.
        ZeroFirst = "zero_first",
        /// The target, then each slot. As merged.
        TargetFirst = "target_first",
    }
}

words! {
    /// Use of a ghost's first cluster.
    pub enum GhostCluster0: "ghost_cluster0" {
        /// The cluster starts on the list of partly used clusters, as on any device. As merged.
        Listed = "listed",
        /// The cluster is on no list, so its slots are counted and never handed out. As posted.
        Unlisted = "unlisted",
    }
}

words! {
    /// Large folios on ghosts.
    pub enum GhostLargeOrders: "ghost_large_orders" {
        /// Allowed, as on a block device. As merged.
        Allowed = "allowed",
        /// Refused, as on a regular file. As posted. A device with a virtual table allows large folios in any case.
        Refused = "refused",
    }
}

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
    /// The value of each switch. A profile sets the switches, and the caller may change each switch.
    pub switches: Switches,
    /// When queued work runs.
    pub workers: Workers,
    /// Pages of memory that all folios share.
    pub memory_pages: u64,
    /// The hierarchy of the memory controller. `None` disables memcg.
    pub memcg: Option<Hierarchy>,
    /// The lists of reclaim and the rule of refaults: `classic` (active and inactive) or `mglru` (generations).
    pub workingset: String,
    /// Options of zswap, which is on from the start. With `None` zswap is off until a call turns zswap on.
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
    fn unknown_words_are_refused() {
        let mut switches = Profile::Newest.switches();
        assert!(switches.set("rule_u", "maybe").is_err());
        assert!(switches.set("rule_v", "leave").is_err());
        assert!(Profile::from_name("v2.6").is_err());
    }
}
