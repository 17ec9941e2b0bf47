//! The removal of a group. With `lru_reparent` its folios move to the parent.

use crate::base::error::Result;
use crate::base::types::{CpuId, CssId, Pfn};
use crate::folio::{FolioFlags, LockedFolio};
use crate::machine::Swap;
use crate::memcg::{MemCgroup, MemcgStat};

impl Swap {
    /// Removes a group. No task may enter it any more, and the group is freed when no charge refers to it.
    ///
    /// With `lru_reparent` its resident folios belong to the parent from now on and are on the parent's lists. The
    /// removed group's own counters keep the charge of these folios; the counters of its ancestors are right. Errors:
    /// as [`crate::memcg::MemCgroups::remove`]. Sleeps for folio locks. Kernel: `mem_cgroup_css_offline`,
    /// `memcg_reparent_objcgs`.
    pub fn remove_group(&self, css: CssId, cpu: CpuId) -> Result<()> {
        let groups = self.memcg_enabled()?;
        let group = groups.get(css);
        // The parent is read before the group may be freed.
        let parent = group.parent().map(|parent| groups.get(parent));
        let is_moved = groups.options().has_lru_reparent;
        groups.css_get(group, 1);
        let result = groups.remove(css);
        if let (Ok(()), Some(parent), true) = (&result, parent, is_moved) {
            self.reparent_folios(group, parent, cpu)?;
        }
        groups.css_put(group, 1);
        result
    }

    fn reparent_folios(&self, group: &MemCgroup, parent: &MemCgroup, cpu: CpuId) -> Result<()> {
        let memory = self.memory_of_folios();
        let mut found: Vec<Pfn> = Vec::new();
        memory.for_each_charged(|folio, css| {
            if css == group.css() {
                found.push(folio.pfn());
            }
        });
        for pfn in found {
            let Some(folio) = memory.folio(pfn).try_get() else { continue };
            let locked = folio.folio().lock();
            if locked.css() == Some(group.css()) {
                self.reparent_folio(&locked, group, parent, cpu)?;
            }
        }
        Ok(())
    }

    fn reparent_folio(
        &self,
        locked: &LockedFolio<'_>,
        group: &MemCgroup,
        parent: &MemCgroup,
        cpu: CpuId,
    ) -> Result<()> {
        let groups = self.memcg_enabled()?;
        let nr_pages = i64::from(locked.nr_pages());
        let move_stat = |stat, nr_pages: i64| {
            group.count(stat, -nr_pages);
            parent.count(stat, nr_pages);
        };
        if locked.has(FolioFlags::SWAPCACHE) {
            move_stat(MemcgStat::Swapcached, nr_pages);
            move_stat(MemcgStat::Swap, self.on_cpu(cpu)?.operation().nr_owned_slots(locked) as i64);
        }
        // The folio leaves its list first, because its group selects the list.
        let age = locked.lru_gen_age();
        let was_listed = locked.lru_del();
        locked.rebind(groups, group, parent);
        if was_listed {
            locked.lru_add();
            age.into_iter().for_each(|age| locked.lru_gen_set_age(age));
        }
        Ok(())
    }
}
