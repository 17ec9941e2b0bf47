//! Which kernel is meant: named switches, and the profiles that set them.

use crate::base::error::Result;
pub use crate::base::profile::Profile;
use crate::base::profile::switches;
use crate::base::words::{unknown_name, words};
use crate::cluster::FreeOrder;
use crate::memcg::MemcgSwitches;

// A new switch with two words is an enum below, an entry here, and the code that reads `switches.name`. Its words, `set`, the
// error texts and the round trip test follow from these. A switch of "on" and "off" is a `bool` and needs no enum. Besides, the
// switch belongs into docs/kernel-map.md (`Switches`), CHANGELOG.md, and the docs of `Swap.switches` of the Python package.
switches! {
    /// Every observable choice; start from a named profile.
    pub struct Switches {
        /// Priorities of devices turned on without one.
        default_priority: DefaultPriority = DefaultPriority::MinusOne, V618 => DefaultPriority::Descending;
        /// Unusable hint clusters.
        rule_u: RuleU = RuleU::Leave, Series => RuleU::Relocate;
        /// Pending discards of a failing request.
        sync_discard: SyncDiscard = SyncDiscard::Active, V618 | P3 => SyncDiscard::Avail;
        /// Order of a fresh device's free list.
        free_order: FreeOrder = FreeOrder::Ascending;
        /// List searched first.
        first_search: FirstSearch = FirstSearch::Nonfull;
        /// Search for hibernation slots.
        hibernation: Hibernation = Hibernation::Hint, V618 | P3 => Hibernation::Search;
        /// Looks of a large swap-in.
        swapin_check: SwapinCheck = SwapinCheck::ZeroFirst;
        /// First cluster of a ghost device.
        ghost_cluster0: GhostCluster0 = GhostCluster0::Listed, Series => GhostCluster0::Unlisted;
        /// Large folios on ghost devices.
        ghost_large_orders: GhostLargeOrders = GhostLargeOrders::Allowed, Series => GhostLargeOrders::Refused;
    }
    with {
        /// Owners of slots and what follows from them.
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
    /// Returns the profile's choices.
    pub const fn switches(self) -> Switches {
        Switches::of(self)
    }
}

words! {
    /// Priorities of devices turned on without one.
    pub enum DefaultPriority: "default_priority" {
        /// Every such device gets -1: they are equals and take turns. From 6.19 on.
        MinusOne = "minus_one",
        /// -2, -3, ... as they come; a swapoff raises those below. Up to 6.18.
        Descending = "descending",
    }
}

words! {
    /// What a CPU does with a hint whose cluster cannot serve the request.
    pub enum RuleU: "rule_u" {
        /// Nothing: hint and cluster stay as they are.
        Leave = "leave",
        /// Clears the hint and puts the cluster where an unsuccessful scan would.
        Relocate = "relocate",
    }
}

words! {
    /// Whose pending discards a failing order-0 request runs.
    pub enum SyncDiscard: "sync_discard" {
        /// Those of devices with room.
        Avail = "avail",
        /// Those of every device that is on.
        Active = "active",
    }
}

words! {
    /// Which list a request looks at first.
    pub enum FirstSearch: "first_search" {
        /// Clusters with freed slots. From 6.18 on.
        Nonfull = "nonfull",
        /// Empty clusters. Up to 6.17, and with per-cluster discard.
        Free = "free",
    }
}

words! {
    /// How a hibernation slot is looked for.
    pub enum Hibernation: "hibernation" {
        /// At this CPU's order-0 hint first.
        Hint = "hint",
        /// By a search of the lists, each time.
        Search = "search",
    }
}

words! {
    /// What a large swap-in looks at first: it decides between EBUSY and EEXIST when zero marks are mixed and the target is
    /// cached.
    pub enum SwapinCheck: "swapin_check" {
        /// Zero marks of the range, then the target. As posted.
        ZeroFirst = "zero_first",
        /// The target, then each slot. As merged.
        TargetFirst = "target_first",
    }
}

words! {
    /// Whether the first cluster of a ghost device is used.
    pub enum GhostCluster0: "ghost_cluster0" {
        /// It starts on the list of partly used clusters, as on any device. As merged.
        Listed = "listed",
        /// It is on no list: its slots are counted and never handed out. As posted.
        Unlisted = "unlisted",
    }
}

words! {
    /// Whether a ghost device takes large folios.
    pub enum GhostLargeOrders: "ghost_large_orders" {
        /// Like a block device. As merged.
        Allowed = "allowed",
        /// Like a regular file. As posted. A device with a virtual table takes them all the same.
        Refused = "refused",
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
