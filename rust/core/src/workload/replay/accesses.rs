//! Replay of a list of page accesses in an address space. The list names the pages that a program touches, in order.
//! The replay compares the content of each page with the expected content.
//!
//! The content of a page is a function of the earlier accesses: the first touch fills the page with bytes that depend
//! only on the seed and the page number, and each write adds a constant to the last word of the page. A replay can
//! therefore stop after any access, and a second call can continue it. The second call may also use a forked copy of
//! the address space.

use std::ops::Range;

use super::contents::Contents;
use super::{Clock, cpu_ns};
use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::CpuId;
use crate::mm::{Access, MMAP_PAGES_MAX, Mm, write_page};
use crate::readahead::Vpn;
use crate::workload::check_range;

/// Number of accesses between two calls of `tick`, a function of the caller.
const TICK_ACCESSES: usize = 1024;
/// Offset of the stamp in a page, in bytes. The stamp is the last word of the page, and each write changes the stamp.
const STAMP_AT: usize = PAGE_SIZE - size_of::<u64>();
/// Number that a write adds to the stamp. The number is odd, so a stamp repeats only after 2^64 writes.
const STAMP_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A checked list of page accesses, ready to replay.
#[derive(Debug)]
pub struct Accesses {
    pages: Vec<u32>,
    writes: Vec<u8>,
    span_pages: u64,
    nr_pages: u64,
    nr_writes: u64,
}

/// The parameters of a replay of page accesses.
#[derive(Clone, PartialEq, Debug)]
pub struct AccessReplay {
    /// The page of the address space that page number 0 of the list means.
    pub first: Vpn,
    /// Index range of the accesses to replay. The caller has already replayed all earlier accesses, in the same
    /// address space or in the parent of the address space before a fork.
    pub range: Range<usize>,
    /// CPU whose hints and local lock the replay uses.
    pub cpu: CpuId,
    /// Percentage of pages whose first content is all zeros.
    pub zero_percent: f64,
    /// Percentage of pages whose first content does not compress. lz4 compresses the remaining pages that are not all
    /// zeros about 3:1.
    pub random_percent: f64,
    /// Whether the replay compares the stamp at each access, and the whole page at each access that swaps the page
    /// in.
    pub is_verified: bool,
    /// Seed of the page contents.
    pub seed: u64,
}

/// The result of a replay of page accesses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccessReport {
    /// Number of replayed accesses.
    pub accesses: u64,
    /// Number of replayed accesses that write.
    pub writes: u64,
    /// Number of replayed accesses that are the first access to a page.
    pub first_touches: u64,
    /// Number of whole pages that the replay compared after a swap-in. 0 unless `is_verified` is set.
    pub verified_pages: u64,
    /// CPU time of the replaying thread in ns, without the time for making contents and for comparing whole pages.
    pub cpu_ns: u64,
    /// Whether the replay ended early, because the next access found no free memory or because the charge of the
    /// access was refused.
    pub is_oom: bool,
}

impl Accesses {
    /// Makes a list of accesses from two columns, after a check of the columns. `pages` has the page number of each
    /// access. `writes` has 1 for an access that writes, and 0 for an access that reads.
    ///
    /// Errors: `BadTrace` (EINVAL), which names the access.
    pub fn new(pages: Vec<u32>, writes: Vec<u8>) -> Result<Self> {
        let bad = |index, what| Err(SwapError::BadTrace { index, what });
        if pages.len() != writes.len() {
            return bad(0, "columns differ in length");
        }
        if let Some(index) = pages.iter().position(|&page| u64::from(page) >= MMAP_PAGES_MAX) {
            return bad(index, "the page number is not below 2^28, the most pages of a mapping");
        }
        if let Some(index) = writes.iter().position(|&write| write > 1) {
            return bad(index, "write must be 0 or 1");
        }
        let span_pages = pages.iter().max().map_or(0, |&page| u64::from(page) + 1);
        let mut is_seen = vec![false; span_pages as usize];
        let is_new = |&&page: &&u32| !std::mem::replace(&mut is_seen[page as usize], true);
        let nr_pages = pages.iter().filter(is_new).count() as u64;
        let nr_writes = writes.iter().map(|&write| u64::from(write)).sum();
        Ok(Self { pages, writes, span_pages, nr_pages, nr_writes })
    }

    /// Returns the number of accesses.
    pub fn nr_accesses(&self) -> usize {
        self.pages.len()
    }

    /// Returns the number of accesses that write.
    pub fn nr_writes(&self) -> u64 {
        self.nr_writes
    }

    /// Returns the number of different pages.
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// Returns the number of pages that a mapping needs: the largest page number plus 1.
    pub fn span_pages(&self) -> u64 {
        self.span_pages
    }

    /// Replays the accesses of `how.range` in an address space, in order.
    ///
    /// `tick` is called at the start and after every 1,024 accesses, with the number of accesses done. An error of
    /// `tick` ends the replay. When memory runs out, the replay ends and sets `is_oom` in the report. The kernel
    /// kills the task in this case. Errors: `OutOfRange` (EINVAL) for a range beyond the list; `BadShare` (EINVAL);
    /// `NotMapped` (EFAULT); `Invariant` when a page has the wrong content; `Io`; `BadCpu`.
    pub fn replay(
        &self,
        mm: &Mm,
        how: &AccessReplay,
        mut tick: impl FnMut(usize) -> Result<()>,
    ) -> Result<AccessReport> {
        let (Range { start, end }, high) = (how.range.clone(), self.pages.len() as u64);
        check_range("start", start as u64, 0, high)?;
        check_range("stop", end as u64, start as u64, high)?;
        let mut run = Run {
            list: self,
            mm,
            how,
            contents: Contents::new(how.seed, how.zero_percent, how.random_percent)?,
            clock: Clock::new(),
            stamps: vec![None; self.span_pages as usize],
            page_bytes: vec![0; PAGE_SIZE],
            aside_ns: 0,
            report: AccessReport::default(),
        };
        self.pages[..start].iter().zip(&self.writes).for_each(|(&page, &write)| run.replayed(page, write == 1));
        tick(0)?;
        for range in (start..end).step_by(TICK_ACCESSES).map(|at| at..(at + TICK_ACCESSES).min(end)) {
            run.accesses(range.clone())?;
            if run.report.is_oom {
                break;
            }
            tick(range.end - start)?;
        }
        Ok(run.report)
    }
}

/// The state of one replay, with the expected content of each page.
struct Run<'a> {
    list: &'a Accesses,
    mm: &'a Mm,
    how: &'a AccessReplay,
    contents: Contents,
    clock: Clock,
    /// Expected stamp of each page. The stamp is `None` before the first access to the page.
    stamps: Vec<Option<u64>>,
    page_bytes: Vec<u8>,
    /// CPU time in ns that is subtracted from the time of the accesses, because the replay made or compared contents
    /// in it.
    aside_ns: u64,
    report: AccessReport,
}

impl Run<'_> {
    /// Updates the expected stamp of a page for an access that an earlier call of [`Accesses::replay`] has made.
    fn replayed(&mut self, page: u32, is_write: bool) {
        match &mut self.stamps[page as usize] {
            Some(stamp) => *stamp = stamp.wrapping_add(if is_write { STAMP_STEP } else { 0 }),
            new @ None => {
                self.contents.fill(page.into(), &mut self.page_bytes);
                *new = Some(stamp_of(&self.page_bytes));
            }
        }
    }

    /// Replays accesses and adds up their CPU time.
    fn accesses(&mut self, range: Range<usize>) -> Result<()> {
        let (start_ns, aside_ns) = (cpu_ns(), self.aside_ns);
        let list = self.list;
        let mut accesses = list.pages[range.clone()].iter().zip(&list.writes[range]);
        let result: Result<()> = accesses.try_for_each(|(&page, &write)| {
            self.access(page, write == 1)?;
            self.report.accesses += 1;
            self.report.writes += u64::from(write);
            Ok(())
        });
        self.report.cpu_ns += (cpu_ns() - start_ns).saturating_sub(self.aside_ns - aside_ns);
        self.report.is_oom = matches!(&result, Err(error) if error.is_no_memory());
        if self.report.is_oom { Ok(()) } else { result }
    }

    fn access(&mut self, page: u32, is_write: bool) -> Result<()> {
        let (mm, how) = (self.mm, self.how);
        let vpn = Vpn(how.first.0.saturating_add(page.into()));
        let Some(stamp) = self.stamps[page as usize] else {
            return self.first_touch(vpn, page);
        };
        let was_out = how.is_verified && mm.swap_entry(vpn)?.is_some();
        let (folio, at) = mm.touch(vpn, Access::of(is_write), how.cpu)?;
        if how.is_verified {
            self.check(page, stamp, &folio.bytes()?[usize::from(at) * PAGE_SIZE..][..PAGE_SIZE], was_out)?;
        }
        if is_write {
            let stamp = stamp.wrapping_add(STAMP_STEP);
            write_page(&folio, at, STAMP_AT, &stamp.to_ne_bytes())?;
            self.stamps[page as usize] = Some(stamp);
        }
        Ok(())
    }

    /// Fills a page with its first content. The access is a write, because a program computes its data or reads its
    /// data from a file before the first use.
    fn first_touch(&mut self, vpn: Vpn, page: u32) -> Result<()> {
        let (folio, at) = self.mm.touch(vpn, Access::Write, self.how.cpu)?;
        self.aside(|run| {
            run.contents.fill(page.into(), &mut run.page_bytes);
            write_page(&folio, at, 0, &run.page_bytes)
        })?;
        self.stamps[page as usize] = Some(stamp_of(&self.page_bytes));
        self.report.first_touches += 1;
        Ok(())
    }

    /// Compares the stamp of a page with the expected stamp. After a swap-in, also compares the other bytes of the
    /// page.
    fn check(&mut self, page: u32, stamp: u64, bytes: &[u8], was_out: bool) -> Result<()> {
        let is_same = stamp_of(bytes) == stamp
            && (!was_out
                || self.aside(|run| {
                    run.report.verified_pages += 1;
                    run.contents.fill(page.into(), &mut run.page_bytes);
                    bytes[..STAMP_AT] == run.page_bytes[..STAMP_AT]
                }));
        if is_same {
            return Ok(());
        }
        let which = self.report.accesses as usize + self.how.range.start;
        Err(SwapError::Invariant(format!("page {page} is not what was written when access {which} looks at it")))
    }

    /// Runs a function whose time does not count as access time.
    fn aside<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let start_ns = cpu_ns();
        let result = call(self);
        // `look_ns` is the cost of one reading of the clock. The difference of the two readings includes the cost of
        // only one reading. The cost of the other reading is added, because neither cost is access time.
        self.aside_ns += cpu_ns() - start_ns + self.clock.look_ns;
        result
    }
}

fn stamp_of(page_bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(page_bytes[STAMP_AT..].try_into().expect("the last eight bytes"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{ram, swap};
    use super::*;
    use crate::mm::VmaOptions;

    /// The pages of eight accesses: pages 0, 2 and 5 of a span of six pages.
    const PAGES: [u32; 8] = [0, 2, 0, 5, 0, 2, 5, 0];
    const WRITES: [u8; 8] = [1, 0, 1, 0, 1, 1, 0, 0];

    fn list() -> Accesses {
        Accesses::new(PAGES.to_vec(), WRITES.to_vec()).expect("a good list")
    }

    fn mapped(nr_pages: u64) -> (Mm, Vpn) {
        let mm = Mm::new(Arc::new(swap(ram(4096))));
        let first = mm.mmap(nr_pages, VmaOptions::default()).expect("room").pages().start;
        (mm, first)
    }

    fn how(first: Vpn, range: Range<usize>) -> AccessReplay {
        let (zero_percent, random_percent) = (10.0, 10.0);
        AccessReplay { first, range, cpu: CpuId(0), zero_percent, random_percent, is_verified: true, seed: 1 }
    }

    fn page_out(mm: &Mm, first: Vpn) {
        let report = mm.pageout(first..Vpn(first.0 + 6), CpuId(0)).expect("mapped");
        assert_eq!(report.errno, 0, "no page fails to go");
    }

    #[test]
    fn accesses_are_counted() {
        let (list, (mm, first)) = (list(), mapped(6));
        assert_eq!((list.nr_accesses(), list.nr_writes(), list.nr_pages(), list.span_pages()), (8, 4, 3, 6));
        let mut ticks = Vec::new();
        let tick = |done| {
            ticks.push(done);
            Ok(())
        };
        let report = list.replay(&mm, &how(first, 0..8), tick).expect("replays");
        assert_eq!((report.accesses, report.writes, report.first_touches, report.verified_pages), (8, 4, 3, 0));
        assert_eq!((mm.nr_pages(), ticks, report.is_oom), ((3, 0), vec![0, 8], false));
    }

    #[test]
    fn a_page_is_known_again_wherever_the_replay_goes_on() {
        let (list, (mm, first)) = (list(), mapped(6));
        let mut verified_pages = 0;
        for at in 0..8 {
            verified_pages += list.replay(&mm, &how(first, at..at + 1), |_| Ok(())).expect("as written").verified_pages;
            page_out(&mm, first);
        }
        assert_eq!(verified_pages, 5, "each access except the three first touches is compared");
        let child = mm.fork(CpuId(0)).expect("no counts overflow");
        let more = Accesses::new([&PAGES[..], &[5, 0]].concat(), [&WRITES[..], &[1, 1]].concat()).expect("good");
        assert_eq!(more.replay(&child, &how(first, 8..10), |_| Ok(())).expect("as written").verified_pages, 2);
        // The writes of `child` do not change the pages of the parent `mm`.
        assert_eq!(list.replay(&mm, &how(first, 7..8), |_| Ok(())).expect("as written").verified_pages, 1);
        mm.swap().check().expect("nothing lost");
    }

    #[test]
    fn a_page_somebody_else_wrote_is_caught() {
        let (list, (mm, first)) = (list(), mapped(6));
        list.replay(&mm, &how(first, 0..4), |_| Ok(())).expect("replays");
        let caught = |at: usize| {
            mm.write(first.0 * PAGE_SIZE as u64 + at as u64, &[0xa5], CpuId(0)).expect("mapped");
            let seen = list.replay(&mm, &how(first, 4..5), |_| Ok(()));
            seen.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(caught(0), "", "for a page that stays in memory the replay compares the stamp only");
        page_out(&mm, first);
        // The replay compares the whole page after a swap-in.
        assert!(caught(0).contains("page 0 is not what was written when access 4"));
        assert!(caught(PAGE_SIZE - 1).contains("page 0"), "the stamp is compared at every access");
        let trusting = AccessReplay { is_verified: false, ..how(first, 4..8) };
        assert!(list.replay(&mm, &trusting, |_| Ok(())).is_ok());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bad = |pages: &[u32], writes: &[u8]| {
            Accesses::new(pages.to_vec(), writes.to_vec()).map(|_| ()).expect_err("refused").to_string()
        };
        assert!(bad(&[1, 2], &[0]).contains("differ in length"));
        assert!(bad(&[0, 1 << 28], &[0, 0]).contains("operation 1 of the trace: the page number"));
        assert!(bad(&[0, 0], &[0, 2]).contains("operation 1 of the trace: write must be 0 or 1"));
        let (list, (mm, first)) = (list(), mapped(5));
        let errno = |how: &AccessReplay| list.replay(&mm, how, |_| Ok(())).map_err(|error| error.errno()).err();
        assert_eq!(errno(&how(first, 0..9)), Some(22));
        assert_eq!(errno(&how(first, Range { start: 5, end: 4 })), Some(22));
        assert_eq!(errno(&AccessReplay { zero_percent: 100.5, ..how(first, 0..1) }), Some(22));
        assert_eq!(errno(&how(first, 0..8)), Some(14), "page 5 is behind the mapping of five pages");
    }
}
