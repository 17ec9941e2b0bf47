//! The OOM killer: a fault that gets no memory ends the task with the most pages. Kernel: `mm/oom_kill.c`.

use std::sync::Arc;

use super::{Mm, Pte};
use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, CssId};
use crate::machine::Event;
use crate::machine::profile::Oom;
use crate::memcg::{MemCgroups, MemcgEvent};
use crate::rmap::Task;

impl Mm {
    /// Repeats a fault that gets no memory, each time after the OOM killer has ended a task, as the switch `oom` says.
    ///
    /// Errors: the error of the fault when the OOM killer finds no task to end, or when it has ended the task of this
    /// address space. Locks: the caller holds no lock. Kernel: `mem_cgroup_oom`, `pagefault_out_of_memory`.
    pub(super) fn with_oom_killer(&self, cpu: CpuId, fault: impl Fn() -> Result<()>) -> Result<()> {
        loop {
            let error = match fault() {
                Err(error @ (SwapError::OverLimit { .. } | SwapError::NoMemory(_))) => error,
                result => return result,
            };
            if self.swap.switches().oom != Oom::Kill || !self.out_of_memory(&error, cpu)? || self.task.is_ended() {
                return Err(error);
            }
        }
    }

    /// Returns whether the OOM killer has ended the task of this address space.
    pub fn is_killed(&self) -> bool {
        self.task.is_ended()
    }

    /// Checks that the OOM killer has not ended the task. Errors: `Killed` (ESRCH), with all pages of the task freed.
    pub(super) fn check_alive(&self) -> Result<()> {
        if self.task.is_ended() {
            // A fault of another thread can have mapped a page after the OOM killer freed the pages of the task.
            self.exit_mmap(&self.task, CpuId(0));
            return Err(SwapError::Killed);
        }
        Ok(())
    }

    /// Ends the task with the most pages in the group whose limit refused a charge and in the groups below it, and
    /// every other task of the highest group with `memory.oom.group` between. Ends no task if the limit has room
    /// again. Returns false if no task has a page, or if `memory.oom_control` forbids the kill.
    ///
    /// Errors: `BadCpu` (EINVAL). Locks: `oom_lock`; the caller holds no lock. Kernel: `mem_cgroup_out_of_memory`,
    /// `select_bad_process`, `oom_kill_process`.
    fn out_of_memory(&self, error: &SwapError, cpu: CpuId) -> Result<bool> {
        let memcg = self.swap.memcg();
        let _lock = self.swap.tasks.oom_lock();
        let mut top = CssId::ROOT;
        if let (&SwapError::OverLimit { css, nr_pages, .. }, Some(groups)) = (error, memcg) {
            let group = groups.get(css);
            let margin = group.memory.margin_pages();
            let margin = if groups.do_memsw_account() { margin.min(group.swap.margin_pages()) } else { margin };
            if margin >= nr_pages as i64 {
                return Ok(true);
            }
            if group.is_oom_kill_disabled() {
                return Ok(false);
            }
            top = css;
        }
        let below = |top: CssId| memcg.map(|groups| groups.subtree(top));
        let tasks_of = |groups: Option<Vec<CssId>>| {
            let is_in = move |task: &Arc<Task>| groups.as_ref().is_none_or(|groups| groups.contains(&task.css()));
            self.swap.tasks.alive().into_iter().filter(is_in)
        };
        // Of several tasks with the same number of pages, the task that was made last is ended, as in the kernel.
        let Some((_, victim)) = tasks_of(below(top))
            .map(|task| (task.rss_pages(), task))
            .map(|((resident, swapped), task)| (resident + swapped, task))
            .filter(|(pages, _)| *pages > 0)
            .max_by_key(|(pages, _)| *pages)
        else {
            return Ok(false);
        };
        match memcg.and_then(|groups| oom_group(groups, victim.css(), top)) {
            Some(group) => tasks_of(below(group)).try_for_each(|task| self.kill(&task, cpu))?,
            None => self.kill(&victim, cpu)?,
        }
        Ok(true)
    }

    /// Ends a task: its pages and slots are freed, and it leaves its group. Kernel: `__oom_kill_process`,
    /// `exit_mmap`; differs: the pages are freed at once.
    fn kill(&self, task: &Task, cpu: CpuId) -> Result<()> {
        let Some(css) = task.mark_ended() else { return Ok(()) };
        self.swap.on_cpu(cpu)?.counters().count(Event::OomKill, 1);
        if let Some(groups) = self.swap.memcg() {
            groups.raise(groups.get(css), MemcgEvent::OomKill);
        }
        self.exit_mmap(task, cpu);
        if let Some(groups) = self.swap.memcg() {
            groups.leave(css);
        }
        Ok(())
    }

    /// Frees all pages and slots of a task of this subsystem; the mappings stay. Kernel: `exit_mmap`.
    pub(super) fn exit_mmap(&self, task: &Task, cpu: CpuId) {
        let _active = self.swap.begin_activity();
        self.swap.memory_of_folios().lru_batch_drain(cpu);
        let vmas = task.vmas().clone();
        for vma in vmas {
            for table in vma.tables() {
                let mut table = table.lock();
                let nr_entries = table.len();
                table.prepare_zap(nr_entries, self.swap.memory_of_folios());
                let taken: Vec<Pte> = table.iter_mut().map(std::mem::take).collect();
                drop(table);
                // The error `NoDevice` is ignored, because a device that is off has no slots to free.
                let _ = self.drop_entries(&vma, &taken, cpu);
            }
        }
    }
}

/// Returns the highest group with `memory.oom.group` on the path from `css` up to `top`. Kernel:
/// `mem_cgroup_get_oom_group`.
fn oom_group(groups: &MemCgroups, css: CssId, top: CssId) -> Option<CssId> {
    let mut found = None;
    for group in groups.charged_levels(groups.get(css)) {
        found = if group.is_oom_group() { Some(group.css()) } else { found };
        if group.css() == top {
            break;
        }
    }
    found
}
