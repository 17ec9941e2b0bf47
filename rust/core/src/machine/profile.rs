//! Which kernel is meant: named switches, and the profiles that set them.

use crate::base::error::{Result, SwapError};
use crate::cluster::FreeOrder;
use crate::memcg::{DeadSwapin, IdOnlyRefault, MemcgSwitches, OwnerStore, RefaultJudge};

/// Priorities of devices turned on without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultPriority {
    /// Every such device gets -1: they are equals and take turns. From 6.19 on.
    MinusOne,
    /// -2, -3, ... as they come; a swapoff raises those below. Up to 6.18.
    Descending,
}

/// What a CPU does with a hint whose cluster cannot serve the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleU {
    /// Nothing: hint and cluster stay as they are.
    CacheExit,
    /// Clears the hint and puts the cluster where an unsuccessful scan would.
    Relocate,
}

/// Whose pending discards a failing order-0 request runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncDiscard {
    /// Those of devices with room.
    Avail,
    /// Those of every device that is on.
    Active,
}

/// Which list a request looks at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstSearch {
    /// Clusters with freed slots. From 6.18 on.
    Nonfull,
    /// Empty clusters. Up to 6.17, and with per-cluster discard.
    Free,
}

/// How a hibernation slot is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hibernation {
    /// At this CPU's order-0 hint first.
    Hint,
    /// By a search of the lists, each time.
    Search,
}

/// What a large swap-in looks at first: it decides between EBUSY and EEXIST when zero marks are mixed and the target is
/// cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapinCheck {
    /// Zero marks of the range, then the target. As posted.
    ZeroFirst,
    /// The target, then each slot. As merged.
    TargetFirst,
}

/// Whether the first cluster of a ghost device is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GhostCluster0 {
    /// It starts on the list of partly used clusters, as on any device. As merged.
    Listed,
    /// It is on no list: its slots are counted and never handed out. As posted.
    Unlisted,
}

/// Whether a ghost device takes large folios.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GhostLargeOrders {
    /// Like a block device. As merged.
    Allowed,
    /// Like a regular file. As posted. A device with a virtual table takes them all the same.
    Refused,
}

/// Every observable choice; start from a named profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switches {
    /// Priorities of devices turned on without one.
    pub default_priority: DefaultPriority,
    /// Unusable hint clusters.
    pub rule_u: RuleU,
    /// Pending discards of a failing request.
    pub sync_discard: SyncDiscard,
    /// Order of a fresh device's free list.
    pub free_order: FreeOrder,
    /// List searched first.
    pub first_search: FirstSearch,
    /// Search for hibernation slots.
    pub hibernation: Hibernation,
    /// Looks of a large swap-in.
    pub swapin_check: SwapinCheck,
    /// First cluster of a ghost device.
    pub ghost_cluster0: GhostCluster0,
    /// Large folios on ghost devices.
    pub ghost_large_orders: GhostLargeOrders,
    /// Owners of slots and what follows from them.
    pub memcg: MemcgSwitches,
}

/// A kernel whose choices the switches follow. `Newest` is the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// 6.18 stable.
    V618,
    /// Swap table phase III.
    P3,
    /// The phase IV series as posted on its base.
    Series,
    /// The series with the later repairs.
    #[default]
    Newest,
}

impl Profile {
    /// Every profile with its name.
    pub const NAMES: [(&'static str, Self); 4] =
        [("v618", Self::V618), ("p3", Self::P3), ("series", Self::Series), ("newest", Self::Newest)];

    /// Finds a profile by name. Errors: `UnknownName` (EINVAL).
    pub fn from_name(name: &str) -> Result<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, profile)| profile).ok_or_else(|| {
            SwapError::UnknownName { what: "profile", name: name.into(), known: "v618, p3, series, newest" }
        })
    }

    /// Returns the profile's name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, profile)| *profile == self).map_or("newest", |(name, _)| name)
    }

    /// Returns the profile's choices.
    pub const fn switches(self) -> Switches {
        let newest = Switches {
            default_priority: DefaultPriority::MinusOne,
            rule_u: RuleU::CacheExit,
            sync_discard: SyncDiscard::Active,
            free_order: FreeOrder::Ascending,
            first_search: FirstSearch::Nonfull,
            hibernation: Hibernation::Hint,
            swapin_check: SwapinCheck::ZeroFirst,
            ghost_cluster0: GhostCluster0::Listed,
            ghost_large_orders: GhostLargeOrders::Allowed,
            memcg: MemcgSwitches::CANON,
        };
        match self {
            Self::Newest => newest,
            Self::Series => Switches {
                rule_u: RuleU::Relocate,
                ghost_cluster0: GhostCluster0::Unlisted,
                ghost_large_orders: GhostLargeOrders::Refused,
                ..newest
            },
            Self::P3 => Switches { sync_discard: SyncDiscard::Avail, hibernation: Hibernation::Search, ..newest },
            Self::V618 => Switches {
                default_priority: DefaultPriority::Descending,
                sync_discard: SyncDiscard::Avail,
                hibernation: Hibernation::Search,
                ..newest
            },
        }
    }
}

/// Gives a switch enum its words, listed once.
macro_rules! words {
    (@list $first:literal $(, $more:literal)*) => { concat!($first $(, ", ", $more)*) };
    ($field:ident: $kind:ident { $($variant:ident = $word:literal),+ }) => {
        impl $kind {
            fn parse(word: &str) -> Result<Self> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(SwapError::UnknownName {
                        what: stringify!($field),
                        name: word.into(),
                        known: words!(@list $($word),+),
                    }),
                }
            }

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words!(default_priority: DefaultPriority { MinusOne = "minus_one", Descending = "descending" });
words!(rule_u: RuleU { CacheExit = "leave", Relocate = "relocate" });
words!(sync_discard: SyncDiscard { Avail = "avail", Active = "active" });
words!(free_order: FreeOrder { Ascending = "ascending", Columns = "columns" });
words!(first_search: FirstSearch { Nonfull = "nonfull", Free = "free" });
words!(hibernation: Hibernation { Hint = "hint", Search = "search" });
words!(ghost_cluster0: GhostCluster0 { Listed = "listed", Unlisted = "unlisted" });
words!(ghost_large_orders: GhostLargeOrders { Allowed = "allowed", Refused = "refused" });
words!(owner_store: OwnerStore {
    Shadow = "shadow", Array = "array", ClusterTable = "cluster_table", Trampoline = "trampoline"
});
words!(idonly_refault: IdOnlyRefault { Skip = "skip", Count = "count" });
words!(dead_swapin: DeadSwapin { Reparent = "reparent", FaultMm = "fault_mm", ReparentIfShared = "reparent_if_shared" });
words!(refault_level: RefaultJudge { Owner = "owner", ReclaimRoot = "reclaim_root" });
words!(swapin_check: SwapinCheck { ZeroFirst = "zero_first", TargetFirst = "target_first" });

impl DeadSwapin {
    /// Finds a rule by name. Errors: `UnknownName` (EINVAL).
    pub fn from_name(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

/// Words of choices that the owner store makes unless told otherwise.
const DEFAULT: &str = "default";

/// Reads a switch that is on or off.
fn parse_bool(what: &'static str, word: &str) -> Result<bool> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(SwapError::UnknownName { what, name: word.into(), known: "on, off" }),
    }
}

fn bool_word(is_on: bool) -> String {
    if is_on { "on" } else { "off" }.into()
}

/// Every switch, in the order they are listed.
const KNOWN: &str = "default_priority, rule_u, sync_discard, free_order, first_search, hibernation, swapin_check, \
    ghost_cluster0, ghost_large_orders, owner_store, dead_swapin, shared_count, refault_level, idonly_refault, rfc_literal, lru_reparent, memcg_stock";

impl Switches {
    /// Sets one switch by name. Errors: `UnknownName`, `OutOfRange` (EINVAL) for an unknown switch or word.
    pub fn set(&mut self, name: &str, word: &str) -> Result<()> {
        let is_given = word != DEFAULT;
        match name {
            "default_priority" => self.default_priority = DefaultPriority::parse(word)?,
            "rule_u" => self.rule_u = RuleU::parse(word)?,
            "sync_discard" => self.sync_discard = SyncDiscard::parse(word)?,
            "free_order" => self.free_order = FreeOrder::parse(word)?,
            "first_search" => self.first_search = FirstSearch::parse(word)?,
            "hibernation" => self.hibernation = Hibernation::parse(word)?,
            "swapin_check" => self.swapin_check = SwapinCheck::parse(word)?,
            "ghost_cluster0" => self.ghost_cluster0 = GhostCluster0::parse(word)?,
            "ghost_large_orders" => self.ghost_large_orders = GhostLargeOrders::parse(word)?,
            "owner_store" => self.memcg.owner_store = OwnerStore::parse(word)?,
            "dead_swapin" => self.memcg.dead_swapin = is_given.then(|| DeadSwapin::parse(word)).transpose()?,
            "refault_level" => self.memcg.refault_level = is_given.then(|| RefaultJudge::parse(word)).transpose()?,
            "idonly_refault" => self.memcg.idonly_refault = IdOnlyRefault::parse(word)?,
            "shared_count" => self.memcg.shared_count = parse_shared_count(word)?,
            "rfc_literal" => self.memcg.is_rfc_literal = parse_bool("rfc_literal", word)?,
            "lru_reparent" => self.memcg.has_lru_reparent = parse_bool("lru_reparent", word)?,
            "memcg_stock" => self.memcg.has_stock = parse_bool("memcg_stock", word)?,
            _ => return Err(SwapError::UnknownName { what: "switch", name: name.into(), known: KNOWN }),
        }
        Ok(())
    }

    /// Returns every switch with its word.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let memcg = self.memcg;
        vec![
            ("default_priority", self.default_priority.word().into()),
            ("rule_u", self.rule_u.word().into()),
            ("sync_discard", self.sync_discard.word().into()),
            ("free_order", self.free_order.word().into()),
            ("first_search", self.first_search.word().into()),
            ("hibernation", self.hibernation.word().into()),
            ("swapin_check", self.swapin_check.word().into()),
            ("ghost_cluster0", self.ghost_cluster0.word().into()),
            ("ghost_large_orders", self.ghost_large_orders.word().into()),
            ("owner_store", memcg.owner_store.word().into()),
            ("dead_swapin", memcg.dead_swapin.map_or(DEFAULT, DeadSwapin::word).into()),
            ("shared_count", memcg.shared_count.to_string()),
            ("refault_level", memcg.refault_level.map_or(DEFAULT, RefaultJudge::word).into()),
            ("idonly_refault", memcg.idonly_refault.word().into()),
            ("rfc_literal", bool_word(memcg.is_rfc_literal)),
            ("lru_reparent", bool_word(memcg.has_lru_reparent)),
            ("memcg_stock", bool_word(memcg.has_stock)),
        ]
    }
}

/// Reads the references from which on a slot is shared.
fn parse_shared_count(word: &str) -> Result<u32> {
    let (low, high) = (2, u64::from(crate::base::limits::SWP_TB_COUNT_MAX));
    match word.parse::<u32>() {
        Ok(count) if (low..=high).contains(&u64::from(count)) => Ok(count),
        Ok(count) => Err(SwapError::OutOfRange { what: "shared_count", value: count.into(), low, high }),
        Err(_) => Err(SwapError::UnknownName { what: "shared_count", name: word.into(), known: "a number" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_every_profile_can_be_set_again() {
        for (name, profile) in Profile::NAMES {
            assert_eq!((Profile::from_name(name).ok(), profile.name()), (Some(profile), name));
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
