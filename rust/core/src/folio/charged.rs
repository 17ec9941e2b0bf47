//! The group that is charged for a folio. Kernel: `folio->memcg_data`.

use std::sync::atomic::Ordering;

use super::Folio;
use crate::base::types::{CssId, Order};
use crate::memcg::{MemCgroup, MemCgroups, MemcgStat};

impl Folio<'_> {
    /// Returns the group that is charged for the folio, or `None`. Needs the folio lock. Kernel: `folio_memcg`.
    #[inline]
    pub fn css(self) -> Option<CssId> {
        // Relaxed: the field changes only while the folio is locked or frozen.
        match self.memory.header(self.pfn).css.load(Ordering::Relaxed) {
            0 => None,
            css => Some(CssId(css)),
        }
    }

    fn set_css(self, css: CssId) {
        self.memory.header(self.pfn).css.store(css.0, Ordering::Relaxed);
    }

    fn count_anon(self, group: &MemCgroup, sign: i64) {
        let nr_pages = sign * i64::from(self.nr_pages());
        group.count(MemcgStat::Anon, nr_pages);
        if self.order() == Order::MAX {
            group.count(MemcgStat::AnonThp, nr_pages);
        }
    }

    /// Binds a folio to the group that its pages are charged to. The binding holds a reference to the group. Kernel:
    /// `commit_charge`.
    pub(crate) fn bind(self, groups: &MemCgroups, group: &MemCgroup) {
        debug_assert_eq!(self.css(), None, "a folio is charged once");
        groups.css_get(group, 1);
        self.set_css(group.css());
        self.count_anon(group, 1);
        group.count(MemcgStat::PgPgIn, 1);
    }

    /// Removes the binding. The charge and the reference to the group pass to the caller.
    pub(crate) fn unbind(self, groups: &MemCgroups) {
        if let Some(css) = self.css() {
            let group = groups.get(css);
            self.count_anon(group, -1);
            group.count(MemcgStat::PgPgOut, 1);
            self.set_css(CssId::default());
        }
    }

    /// Binds a locked folio to the parent of its group, and leaves charges alone. Kernel: `memcg_reparent_objcgs` of
    /// one folio.
    pub(crate) fn rebind(self, groups: &MemCgroups, from: &MemCgroup, to: &MemCgroup) {
        self.count_anon(from, -1);
        groups.css_get(to, 1);
        self.set_css(to.css());
        self.count_anon(to, 1);
        groups.css_put(from, 1);
    }

    /// Uncharges a folio that is being freed. Kernel: `mem_cgroup_uncharge`.
    pub(super) fn uncharge(self, groups: &MemCgroups) {
        if let Some(css) = self.css() {
            let group = groups.get(css);
            self.unbind(groups);
            groups.uncharge_memory(group, self.nr_pages().into());
            groups.css_put(group, 1);
        }
    }

    /// Takes the charge of a frozen folio that this folio replaces. Kernel: `mem_cgroup_migrate`.
    pub(super) fn take_charge(self, old: Self) {
        self.set_css(old.css().unwrap_or_default());
        old.set_css(CssId::default());
    }

    /// Adds the references to the group that the parts of a split folio need. Kernel: `split_page_memcg`.
    pub(crate) fn split_charge(self, groups: &MemCgroups, nr_parts: u32) {
        if let Some(css) = self.css() {
            let group = groups.get(css);
            groups.css_get(group, u64::from(nr_parts) - 1);
            if self.order() == Order::MAX {
                group.count(MemcgStat::AnonThp, -i64::from(self.nr_pages()));
            }
        }
    }
}
