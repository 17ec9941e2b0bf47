//! The tasks of a subsystem, each with its mappings and its group. The OOM killer chooses among the tasks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use super::Vma;
use crate::base::sync::SpinMutex;
use crate::base::types::CssId;

/// A task with its address space. Kernel: `struct task_struct` and its `struct mm_struct`.
#[derive(Debug)]
pub(crate) struct Task {
    number: u64,
    home: Arc<Tasks>,
    /// The number of the task's group, a [`CssId`]. A task that has ended is in no group, and the number is that of
    /// root.
    css: AtomicU32,
    /// The task has ended: the OOM killer or the end of the address space has freed the task's pages.
    is_ended: AtomicBool,
    /// The lock of changes of `css` and `is_ended`.
    membership: SpinMutex<()>,
    vmas: RwLock<Vec<Arc<Vma>>>,
}

impl Task {
    /// Returns the group of the task.
    pub(crate) fn css(&self) -> CssId {
        // Relaxed: the number guards no other data, and a number names the same group structure as long as the
        // subsystem exists.
        CssId(self.css.load(Ordering::Relaxed))
    }

    /// Stores the group of the task and returns the group before, or `None` if the task has ended.
    pub(crate) fn replace_css(&self, css: CssId) -> Option<CssId> {
        let _membership = self.membership.lock();
        let old = self.css();
        if self.is_ended() {
            return None;
        }
        self.css.store(css.0, Ordering::Relaxed);
        Some(old)
    }

    /// Returns whether the task has ended.
    pub(crate) fn is_ended(&self) -> bool {
        // Acquire pairs with the Release in `mark_ended`: a fault that does not see the mark has mapped its page
        // before the page tables are emptied, or the fault sees the mark afterwards.
        self.is_ended.load(Ordering::Acquire)
    }

    /// Marks the task as ended and returns the group that the task leaves, or `None` if the task has ended before.
    pub(crate) fn mark_ended(&self) -> Option<CssId> {
        let _membership = self.membership.lock();
        let old = self.css();
        if self.is_ended() {
            return None;
        }
        self.css.store(CssId::ROOT.0, Ordering::Relaxed);
        self.is_ended.store(true, Ordering::Release);
        Some(old)
    }

    /// Returns the mappings in the order of their pages.
    pub(crate) fn vmas(&self) -> RwLockReadGuard<'_, Vec<Arc<Vma>>> {
        // A poisoned lock is used like any other lock. The list is valid after a panic, because each change of the
        // list is one push.
        self.vmas.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the mappings for a change.
    pub(crate) fn vmas_for_change(&self) -> RwLockWriteGuard<'_, Vec<Arc<Vma>>> {
        self.vmas.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of pages in memory and the number of swapped-out pages. Locks: each page table in turn.
    pub(crate) fn rss_pages(&self) -> (u64, u64) {
        let mut sum = (0, 0);
        for vma in self.vmas().iter() {
            for table in vma.tables().iter().map(SpinMutex::lock) {
                sum.0 += table.iter().filter(|pte| pte.is_present()).count() as u64;
                sum.1 += table.iter().filter(|pte| pte.slot().is_some()).count() as u64;
            }
        }
        sum
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.home.by_number.lock().remove(&self.number);
    }
}

/// The tasks of a subsystem by number. Later tasks have higher numbers.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    next: AtomicU64,
    /// Kernel: `oom_lock`.
    oom_lock: Mutex<()>,
    by_number: SpinMutex<BTreeMap<u64, Weak<Task>>>,
}

impl Tasks {
    /// Makes a task without mappings in a group.
    pub(crate) fn add_task(self: &Arc<Self>, css: CssId) -> Arc<Task> {
        // Relaxed: no other memory depends on the number.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let task = Arc::new(Task {
            number,
            home: self.clone(),
            css: AtomicU32::new(css.0),
            is_ended: AtomicBool::new(false),
            membership: SpinMutex::default(),
            vmas: RwLock::default(),
        });
        self.by_number.lock().insert(number, Arc::downgrade(&task));
        task
    }

    /// Takes the lock under which the OOM killer chooses and ends tasks, one choice at a time.
    pub(crate) fn oom_lock(&self) -> MutexGuard<'_, ()> {
        self.oom_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the tasks that have not ended, in the order of their numbers.
    pub(crate) fn alive(&self) -> Vec<Arc<Task>> {
        // The upgrades run under the lock, but no task is dropped under the lock, because the drop takes the lock.
        let tasks: Vec<_> = self.by_number.lock().values().filter_map(Weak::upgrade).collect();
        tasks.into_iter().filter(|task| !task.is_ended()).collect()
    }
}
