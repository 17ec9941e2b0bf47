//! The strategy `bitmap_ff`, the simplest allocator. One lock protects one bitmap of all slots, and a request takes
//! the first free run.

use std::ops::Range;

use super::{Strategy, StrategyMemory};
use crate::base::error::{Result, SwapError};
use crate::base::sync::SpinMutex;
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset};
use crate::containers::pieces::pieces;

const BITS: u32 = u64::BITS;

#[derive(Debug)]
struct Bitmap {
    /// One bit for each slot. A set bit means that the slot is in use or not usable.
    words: Box<[u64]>,
    /// Index of the first word that may have a free bit.
    first_free: usize,
    nr_used: u32,
}

/// The strategy `bitmap_ff`: a first-fit bitmap under one lock for all CPUs.
struct BitmapStrategy {
    nr_slots: u32,
    map: SpinMutex<Bitmap>,
}

pub(super) fn make(nr_slots: u32, _nr_cpus: usize) -> Result<Box<dyn Strategy>> {
    let mut words = vec![0; nr_slots.div_ceil(BITS) as usize].into_boxed_slice();
    words[0] = 1;
    if !nr_slots.is_multiple_of(BITS) {
        words[(nr_slots / BITS) as usize] |= !0 << (nr_slots % BITS);
    }
    let map = SpinMutex::new(Bitmap { words, first_free: 0, nr_used: 0 });
    Ok(Box::new(BitmapStrategy { nr_slots, map }))
}

impl Bitmap {
    /// Returns the first bit of the first aligned free run inside one word. Each step of the loop computes the start
    /// bits of all free runs of the next order at once.
    fn find_in_word(used: u64, order: Order) -> Option<u32> {
        let mut free = !used;
        for step in 0..order.get() {
            free &= free >> (1 << step);
        }
        // `aligned` has a set bit at each multiple of the run's length.
        let aligned = !0u64 / ((1u128 << order.nr_pages()) - 1) as u64;
        let starts = free & aligned;
        (starts != 0).then(|| starts.trailing_zeros())
    }

    fn find(&self, order: Order) -> Option<u32> {
        let nr_pages = order.nr_pages();
        if nr_pages <= BITS {
            let words = self.words.iter().enumerate().skip(self.first_free);
            return words
                .filter(|&(_, &used)| used != !0)
                .find_map(|(at, &used)| Self::find_in_word(used, order).map(|bit| at as u32 * BITS + bit));
        }
        let per_run = (nr_pages / BITS) as usize;
        let runs = self.words.chunks_exact(per_run).enumerate().skip(self.first_free / per_run);
        runs.filter(|(_, run)| run.iter().all(|&word| word == 0)).map(|(at, _)| at as u32 * nr_pages).next()
    }

    /// Returns the index of each word that contains bits of a run, and the bits of the run in the word.
    fn bits(first: u32, nr_pages: u32) -> impl Iterator<Item = (usize, u64)> {
        pieces::<{ BITS as u64 }>(first.into()..u64::from(first) + u64::from(nr_pages)).map(|Range { start, end }| {
            let (word, bit) = (start / u64::from(BITS), start % u64::from(BITS));
            (word as usize, !0 >> (u64::from(BITS) - (end - start)) << bit)
        })
    }

    /// Inverts the bits of a run, because all bits of the run are clear before an allocation and set before a free.
    fn mark(&mut self, first: u32, nr_pages: u32, is_used: bool) {
        Self::bits(first, nr_pages).for_each(|(word, bits)| self.words[word] ^= bits);
        let word = (first / BITS) as usize;
        if is_used {
            self.nr_used += nr_pages;
            while self.words.get(self.first_free) == Some(&!0) {
                self.first_free += 1;
            }
        } else {
            self.nr_used -= nr_pages;
            self.first_free = self.first_free.min(word);
        }
    }

    fn alloc(&mut self, order: Order) -> Option<SwpOffset> {
        let first = self.find(order)?;
        self.mark(first, order.nr_pages(), true);
        Some(SwpOffset(first))
    }

    fn free(&mut self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        if Self::bits(first.0, nr_pages).any(|(word, bits)| self.words[word] & bits != bits) {
            return Err(SwapError::NotInUse(SwpEntry::from_value(first.0.into())));
        }
        self.mark(first.0, nr_pages, false);
        Ok(())
    }
}

impl Strategy for BitmapStrategy {
    fn name(&self) -> &str {
        "bitmap_ff"
    }

    fn nr_slots(&self) -> u32 {
        self.nr_slots
    }

    fn alloc(&self, order: Order, _cpu: CpuId) -> Option<SwpOffset> {
        self.map.lock().alloc(order)
    }

    fn free(&self, first: SwpOffset, nr_pages: u32, _cpu: CpuId) -> Result<()> {
        self.map.lock().free(first, nr_pages)
    }

    fn alloc_batch(&self, order: Order, _cpu: CpuId, out: &mut [SwpOffset]) -> usize {
        let mut map = self.map.lock();
        out.iter_mut().map_while(|slot| map.alloc(order).map(|first| *slot = first)).count()
    }

    fn free_batch(&self, firsts: &[SwpOffset], nr_pages: u32, _cpu: CpuId) -> Result<()> {
        let mut map = self.map.lock();
        firsts.iter().try_for_each(|&first| map.free(first, nr_pages))
    }

    fn memory(&self) -> StrategyMemory {
        let map = self.map.lock();
        StrategyMemory { static_bytes: size_of_val(self) as u64 + size_of_val(&*map.words) as u64, dynamic_bytes: 0 }
    }

    fn check(&self) -> Result<()> {
        let map = self.map.lock();
        let set: u32 = map.words.iter().map(|word| word.count_ones()).sum();
        let always = 1 + map.words.len() as u32 * BITS - self.nr_slots;
        if set == map.nr_used + always {
            return Ok(());
        }
        Err(SwapError::Invariant(format!("bitmap_ff: {} slots counted, {} marked", map.nr_used, set - always)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_inside_a_word_are_aligned_first_fit() {
        let order = |order| Order::new(order).expect("an order");
        assert_eq!(Bitmap::find_in_word(0b1, order(0)), Some(1));
        assert_eq!(Bitmap::find_in_word(0b1, order(2)), Some(4));
        assert_eq!(Bitmap::find_in_word(0b1, order(6)), None);
        assert_eq!(Bitmap::find_in_word(0, order(6)), Some(0));
        assert_eq!(Bitmap::find_in_word(!0 >> 1, order(0)), Some(63));
        assert_eq!(Bitmap::find_in_word(0x10, order(3)), Some(8));
    }
}
