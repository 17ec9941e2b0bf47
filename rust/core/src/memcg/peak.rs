//! Peaks of usage, which are reset separately for each open file. Kernel: the open files `memory.peak` and
//! `memory.swap.peak`.

use super::{CounterKind, MemCgroup};

/// The number of one open file of a group. A write to an open file resets the peak of this descriptor alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Descriptor(u64);

impl Descriptor {
    /// The descriptor that all reads and writes share that use the name of a file and no open file.
    pub(crate) const SHARED: Self = Self(0);
}

/// The peak of one descriptor through which a file was written, which resets the peak.
#[derive(Clone, Copy, Debug)]
struct Peak {
    descriptor: Descriptor,
    which: CounterKind,
    /// The largest usage from the write to the latest reset of the counter's `local_watermark`, in pages.
    pages: u64,
}

/// The peaks of the descriptors through which a file was written. Kernel: `memory_peaks`, `swap_peaks`.
#[derive(Debug, Default)]
pub(super) struct Peaks {
    nr_opened: u64,
    written: Vec<Peak>,
}

// Locks: each function takes the lock of `peaks`.
impl MemCgroup {
    /// Returns a new descriptor, when a file of the group is opened.
    pub(crate) fn open_descriptor(&self) -> Descriptor {
        let mut peaks = self.peaks.lock();
        peaks.nr_opened += 1;
        Descriptor(peaks.nr_opened)
    }

    /// Forgets the peaks of a descriptor.
    pub(crate) fn close_descriptor(&self, descriptor: Descriptor) {
        self.peaks.lock().written.retain(|peak| peak.descriptor != descriptor);
    }

    /// Returns the largest usage since the last write through the descriptor. Before the first write, returns the
    /// largest usage since the group was created. Kernel: `peak_show`.
    pub(crate) fn peak_pages(&self, descriptor: Descriptor, which: CounterKind) -> u64 {
        let peaks = self.peaks.lock();
        let own = peaks.written.iter().find(|peak| (peak.descriptor, peak.which) == (descriptor, which));
        match own {
            Some(peak) => peak.pages.max(self.counter(which).local_watermark_pages()),
            None => self.counter(which).watermark_pages(),
        }
    }

    /// Resets the peak of a descriptor to the present usage. The peaks of other descriptors stay. Kernel:
    /// `peak_write`.
    pub(crate) fn reset_peak(&self, descriptor: Descriptor, which: CounterKind) {
        let mut peaks = self.peaks.lock();
        let (usage_pages, before_pages) = self.counter(which).reset_local_watermark();
        for peak in peaks.written.iter_mut().filter(|peak| peak.which == which) {
            peak.pages = peak.pages.max(before_pages);
        }
        peaks.written.retain(|peak| (peak.descriptor, peak.which) != (descriptor, which));
        peaks.written.push(Peak { descriptor, which, pages: usage_pages });
    }
}

#[cfg(test)]
mod tests {
    use crate::base::types::CssId;
    use crate::memcg::{CounterKind, Descriptor, Hierarchy, MemCgroups, MemcgSwitches};

    #[test]
    fn a_peak_is_reset_for_its_descriptor() {
        let options = MemcgSwitches::CANON.resolve(Hierarchy::V2).expect("options");
        let groups = MemCgroups::new(options, 1).expect("memory");
        let group = groups.create(CssId::ROOT, "a").expect("a group");
        let (one, two) = (group.open_descriptor(), group.open_descriptor());
        let usage = |pages: i64| match pages {
            0.. => groups.charge(group, CounterKind::Memory, pages as u64),
            _ => groups.uncharge(group, CounterKind::Memory, pages.unsigned_abs()),
        };
        let peaks = || [Descriptor::SHARED, one, two].map(|of| group.peak_pages(of, CounterKind::Memory));
        [100, -90].into_iter().for_each(usage);
        group.reset_peak(one, CounterKind::Memory);
        assert_eq!(peaks(), [100, 10, 100]);
        [40, -45].into_iter().for_each(usage);
        group.reset_peak(two, CounterKind::Memory);
        assert_eq!(peaks(), [100, 50, 5], "the reset of the second takes nothing from the first");
        group.reset_peak(two, CounterKind::Memory);
        assert_eq!(peaks(), [100, 50, 5]);
        usage(20);
        assert_eq!(peaks(), [100, 50, 25]);
        assert_eq!(group.peak_pages(one, CounterKind::Swap), 0, "each counter has its own peaks");
        group.reset_peak(Descriptor::SHARED, CounterKind::Memory);
        usage(100);
        assert_eq!((peaks(), group.memory.watermark_pages()), ([125; 3], 125));
        group.close_descriptor(one);
        assert_eq!(group.peaks.lock().written.len(), 2);
        usage(-125);
    }
}
