//! The removal of a group. With the switch `lru_reparent` the group's folios move to the parent group.

use crate::base::error::Result;
use crate::base::types::{CpuId, CssId};
use crate::folio::{Folio, FolioFlags, LockedFolio};
use crate::machine::Swap;
use crate::memcg::{MemCgroup, MemcgStat};

impl Swap {
    /// Removes a group. No task can enter a removed group. The group is freed when no charge refers to the group.
    /// The group's pages in zswap belong to the parent group after the call.
    ///
    /// With `lru_reparent` the call moves the resident folios of the group to the parent group and to the parent's
    /// lists. The counters of the removed group keep the charge of these folios, because the counters of the
    /// ancestors already contain this charge. Errors: as [`crate::memcg::MemCgroups::remove`]; with `lru_reparent`,
    /// `FolioBusy` (EBUSY) while the user of a handle holds the lock of a folio of the group, because a wait for the
    /// user's lock might never end. After an error nothing is changed. The call sleeps while other code holds the
    /// lock of a folio of the group. Kernel: `mem_cgroup_css_offline`, `memcg_reparent_objcgs`.
    pub fn remove_group(&self, css: CssId, cpu: CpuId) -> Result<()> {
        let _active = self.begin_activity();
        let groups = self.memcg_enabled()?;
        let group = groups.get(css);
        // The parent is read before the removal, because the removal may free the group.
        let parent = group.parent().map(|parent| groups.get(parent));
        let parent = parent.filter(|_| groups.options().has_lru_reparent);
        let own_folios = || self.memory_of_folios().charged_folios().filter(|folio| folio.css() == Some(css));
        if parent.is_some()
            && let Some(folio) = own_folios().find(|folio| folio.is_locked_by_user())
        {
            return Err(folio.busy());
        }
        groups.css_get(group, 1);
        let result = groups.remove(css);
        if result.is_ok() {
            self.reparent_zswap(css);
        }
        if let (Ok(()), Some(parent)) = (&result, parent) {
            for folio in own_folios().filter_map(Folio::try_get) {
                // If the user of a handle locked the folio after the call of `is_locked_by_user` above,
                // `lock_for_fault` fails, and the folio stays in the removed group.
                if let Ok(locked) = folio.folio().lock_for_fault()
                    && locked.css() == Some(css)
                {
                    self.reparent_folio(&locked, group, parent, cpu)?;
                }
            }
        }
        groups.css_put(group, 1);
        result
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
        // The folio is removed from its list before its group changes, because the group selects the list.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::Order;
    use crate::machine::Config;
    use crate::machine::profile::Profile;
    use crate::memcg::Hierarchy;

    const CPU: CpuId = CpuId(0);

    #[test]
    fn a_folio_that_a_handle_locked_refuses_the_removal() {
        let mut config = Config { memcg: Some(Hierarchy::V2), ..Config::new(1, Profile::Newest) };
        config.switches.memcg.lru_reparent = true;
        let swap = Swap::with_config(config).expect("a config");
        let groups = swap.memcg().expect("v2");
        let css = groups.create(groups.root().css(), "a").expect("a group").css();
        let folio = swap.folio_with_in(Order::ZERO, b"data", css, CPU).expect("memory");
        let locked = folio.folio().try_lock().expect("unlocked");
        locked.set(FolioFlags::HELD);
        locked.keep();
        let error = swap.remove_group(css, CPU).expect_err("the folio is held");
        assert_eq!((error.errno(), groups.get(css).is_online(), folio.css()), (16, true, Some(css)));
        folio.clear(FolioFlags::HELD);
        folio.unlock();
        swap.remove_group(css, CPU).expect("the folio is free");
        assert_eq!(folio.css(), Some(groups.root().css()));
        drop(folio);
        swap.check().expect("whole");
    }
}
