//! Tasks of random programs. A task is an address space with a record of the content of each page.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::mm::{Mm, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::{Orders, Result, Swap};

use crate::common::{CPU, page_of};

const NR_PAGES: u64 = 24;
const MAX_TASKS: usize = 3;

/// A task and the tag of each of its pages. [`page_of`] returns the content for a tag. A page without a tag was never
/// written and has only zeros.
struct Task {
    mm: Mm,
    first: Vpn,
    is_locked: bool,
    tags: Vec<Option<u64>>,
}

impl Task {
    fn address(&self, page: u64) -> u64 {
        (self.first.0 + page) * PAGE_SIZE as u64
    }

    /// Reads a page and compares its content.
    fn read(&self, page: u64) -> Result<()> {
        let mut bytes = vec![1; PAGE_SIZE];
        self.mm.read(self.address(page), &mut bytes, CPU)?;
        let expected = self.tags[page as usize].map_or_else(|| vec![0; PAGE_SIZE], page_of);
        assert!(bytes == expected, "page {page} of tag {:?} changed", self.tags[page as usize]);
        Ok(())
    }
}

/// The tasks of a program.
#[derive(Default)]
pub(crate) struct Tasks(Vec<Task>);

impl Tasks {
    /// Makes one random step. Returns the name of the step and its result. `groups` are the groups that are online,
    /// and `tag` is the tag for a written page.
    pub(crate) fn step(
        &mut self,
        swap: &Arc<Swap>,
        groups: &[CssId],
        tag: u64,
        rng: &mut ChaCha8Rng,
    ) -> (&'static str, Result<()>) {
        let css = groups[rng.random_range(0..groups.len())];
        let (at, page) = (rng.random_range(0..MAX_TASKS), rng.random_range(0..NR_PAGES));
        let Some(task) = self.0.get_mut(at) else { return ("spawn", self.spawn(swap, css, rng)) };
        let pages = Vpn(task.first.0 + page)..Vpn(task.first.0 + rng.random_range(page + 1..=NR_PAGES));
        match rng.random_range(0..16) {
            0..6 => {
                let written = task.mm.write(task.address(page), &page_of(tag), CPU);
                if written.is_ok() {
                    task.tags[page as usize] = Some(tag);
                }
                ("write", written)
            }
            6..9 => ("read", task.read(page)),
            9..12 => ("pageout", task.mm.pageout(pages, CPU).map(drop)),
            12 => ("enter_group", task.mm.enter_group(css)),
            13 => ("fork", self.fork(at)),
            14 => {
                let zapped = task.mm.zap(pages.clone(), CPU);
                if zapped.is_ok() {
                    (pages.start.0..pages.end.0).for_each(|vpn| task.tags[(vpn - task.first.0) as usize] = None);
                }
                assert_eq!(zapped.is_err(), task.is_locked, "only locked pages cannot be removed");
                ("zap", zapped)
            }
            _ => {
                self.0.swap_remove(at);
                ("exit", Ok(()))
            }
        }
    }

    /// Starts a task in a group. One task in four has its pages locked.
    fn spawn(&mut self, swap: &Arc<Swap>, css: CssId, rng: &mut ChaCha8Rng) -> Result<()> {
        let mm = Mm::in_group(swap.clone(), css)?;
        let is_locked = rng.random_ratio(1, 4);
        let anon_order = rng.random_range(0..5);
        let orders = Orders::from_bits(rng.random_range(0..32))?;
        let vma = mm.mmap(NR_PAGES, VmaOptions { orders, anon_order, is_locked, ..VmaOptions::default() })?;
        self.0.push(Task { first: vma.pages().start, mm, is_locked, tags: vec![None; NR_PAGES as usize] });
        Ok(())
    }

    /// Forks a task. The mapping of the child is not locked.
    fn fork(&mut self, at: usize) -> Result<()> {
        let task = &self.0[at];
        if self.0.len() < MAX_TASKS {
            let mm = task.mm.fork(CPU)?;
            self.0.push(Task { mm, first: task.first, is_locked: false, tags: task.tags.clone() });
        }
        Ok(())
    }

    /// Reads every page of every task, and ends the tasks. `make_room` frees memory after a failed read and returns
    /// whether memory was freed.
    pub(crate) fn end(&mut self, mut make_room: impl FnMut() -> bool) {
        for task in self.0.drain(..) {
            for page in 0..NR_PAGES {
                while let Err(error) = task.read(page) {
                    assert!(error.errno() == 12 && make_room(), "page {page} does not come back: {error}");
                }
            }
        }
    }
}
