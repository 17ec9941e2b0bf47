//! A zeroed array that grows in place: elements never move, so a reader needs no lock.
//!
//! The array is a mapping, its head, and more mappings behind the head, its segments. A segment is mapped when the
//! first of its elements is needed. The address space of an array therefore follows the elements in use, not the
//! capacity: a limit on the address space of a process (`RLIMIT_AS`) counts reserved address space as if it were used.
//! A lookup in the head is as fast as a lookup in a [`MappedSlice`], because the check of the bounds that a slice needs
//! is also the check for the head.

use std::ops::Range;
use std::sync::OnceLock;

use bytemuck::Zeroable;

use super::zeroed::MappedSlice;
use crate::base::error::Result;

/// Number of elements of a segment.
pub(crate) const SEGMENT: usize = 1 << 14;

/// The segments of an array, by number. A segment that was never needed is not set.
type Segments<T> = Box<[OnceLock<MappedSlice<T>>]>;

/// An array of up to `capacity` elements of `T`, in which every byte is zero at first.
#[derive(Debug)]
pub(crate) struct GrowingSlice<T> {
    head: MappedSlice<T>,
    capacity: usize,
    segments: OnceLock<Segments<T>>,
}

impl<T: Zeroable + Send + Sync> GrowingSlice<T> {
    /// Maps the first `nr_head` elements of an array of up to `capacity` elements. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn with_head(nr_head: usize, capacity: usize) -> Result<Self> {
        Ok(Self { head: MappedSlice::zeroed(nr_head.min(capacity))?, capacity, segments: OnceLock::new() })
    }

    /// Returns the largest number of elements.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns an element. Panics: when the element is not mapped.
    #[inline]
    pub(crate) fn element(&self, at: usize) -> &T {
        match self.head.get(at) {
            Some(element) => element,
            None => self.mapped_behind(at),
        }
    }

    /// Returns an element, or `None` when the element is not mapped.
    #[inline]
    pub(crate) fn find_element(&self, at: usize) -> Option<&T> {
        match self.head.get(at) {
            Some(element) => Some(element),
            None => self.behind(at),
        }
    }

    #[cold]
    #[inline(never)]
    fn mapped_behind(&self, at: usize) -> &T {
        self.behind(at).expect("an element is mapped before its number is given out")
    }

    /// Returns an element behind the head.
    #[cold]
    #[inline(never)]
    fn behind(&self, at: usize) -> Option<&T> {
        let (segment, at) = self.segment_of(at)?;
        segment.get(at)
    }

    /// Returns the segment of an element behind the head, and the element's index in the segment.
    fn segment_of(&self, at: usize) -> Option<(&MappedSlice<T>, usize)> {
        let at = at.checked_sub(self.head.len())?;
        Some((self.segments.get()?.get(at / SEGMENT)?.get()?, at % SEGMENT))
    }

    /// Maps the element `at`. The call does nothing for an element that is mapped. Errors: `NoMemory` (ENOMEM).
    /// Panics: when `at` is not below the capacity.
    #[inline]
    pub(crate) fn map_element(&self, at: usize) -> Result<()> {
        if at < self.head.len() { Ok(()) } else { self.map_segment(at) }
    }

    #[cold]
    fn map_segment(&self, at: usize) -> Result<()> {
        assert!(at < self.capacity, "an element beyond the capacity");
        let nr_behind = self.capacity - self.head.len();
        let make = || (0..nr_behind.div_ceil(SEGMENT)).map(|_| OnceLock::new()).collect();
        let number = (at - self.head.len()) / SEGMENT;
        let segment = &self.segments.get_or_init(make)[number];
        if segment.get().is_none() {
            let mapped = MappedSlice::zeroed(SEGMENT.min(nr_behind - number * SEGMENT))?;
            // If another thread has mapped the segment meanwhile, that mapping stays, and this mapping is dropped.
            let _ = segment.set(mapped);
        }
        Ok(())
    }

    /// Returns a run of mapped elements that lies in the head or in one segment. Panics: for any other run.
    #[inline]
    pub(crate) fn run_of(&self, run: Range<usize>) -> &[T] {
        match self.head.get(run.clone()) {
            Some(elements) => elements,
            None => self.run_behind(run),
        }
    }

    #[cold]
    #[inline(never)]
    fn run_behind(&self, run: Range<usize>) -> &[T] {
        let (segment, first) = self.segment_of(run.start).expect("a run is mapped before its number is given out");
        &segment[first..first + run.len()]
    }

    /// Gives the memory of a run back to the system, as [`MappedSlice::release`] does. The run lies in the head or in
    /// one segment.
    pub(crate) fn release_run(&self, run: Range<usize>) {
        if run.start < self.head.len() {
            return self.head.release(run);
        }
        let (segment, first) = self.segment_of(run.start).expect("a run is mapped before its number is given out");
        segment.release(first..first + run.len());
    }

    /// Returns the bytes of address space of the array: those of the head and of every mapped segment.
    #[cfg(test)]
    pub(crate) fn reserved_bytes(&self) -> u64 {
        let segments = self.segments.get().into_iter().flatten().filter_map(OnceLock::get);
        (segments.map(|segment| segment.len()).sum::<usize>() + self.head.len()) as u64 * size_of::<T>() as u64
    }

    /// Returns the bytes of the head.
    pub(crate) fn head_bytes(&self) -> u64 {
        size_of_val(&*self.head) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn elements_behind_the_head_exist_after_they_were_mapped() {
        let slice = GrowingSlice::<AtomicU64>::with_head(8, 3 * SEGMENT).expect("one page");
        assert_eq!((slice.find_element(7).map(|word| word.load(Relaxed)), slice.reserved_bytes()), (Some(0), 64));
        assert!(slice.find_element(8).is_none() && slice.find_element(usize::MAX).is_none());
        slice.map_element(8 + SEGMENT).expect("one segment");
        assert!(slice.find_element(8).is_none(), "the segment before stays unmapped");
        slice.element(8 + SEGMENT).store(5, Relaxed);
        slice.map_element(8 + SEGMENT).expect("mapped");
        assert_eq!(slice.find_element(8 + SEGMENT).map(|word| word.load(Relaxed)), Some(5));
        assert_eq!(slice.reserved_bytes(), 8 * (8 + SEGMENT as u64));
    }

    #[test]
    fn the_last_segment_ends_with_the_array() {
        let slice = GrowingSlice::<AtomicU64>::with_head(8, 8 + SEGMENT + 3).expect("one page");
        slice.map_element(8 + SEGMENT + 2).expect("the last element");
        assert_eq!(slice.reserved_bytes(), 8 * (8 + 3));
        assert!(slice.find_element(8 + SEGMENT + 3).is_none());
        assert_eq!(slice.run_of(8 + SEGMENT..8 + SEGMENT + 3).len(), 3);
    }

    #[test]
    fn a_released_run_reads_as_zero_in_the_head_and_behind_it() {
        let slice = GrowingSlice::<[AtomicU64; 512]>::with_head(2, 8).expect("two pages");
        slice.map_element(2).expect("one segment");
        for page in [1, 2] {
            slice.element(page)[9].store(4, Relaxed);
            slice.release_run(page..page + 1);
            assert_eq!(slice.element(page)[9].load(Relaxed), 0);
        }
    }

    #[test]
    fn an_array_larger_than_the_machine_has_a_small_head() {
        let slice = GrowingSlice::<[AtomicU64; 512]>::with_head(1, 1 << 40).expect("one page");
        assert_eq!((slice.reserved_bytes(), slice.capacity()), (4096, 1 << 40));
    }
}
