//! Items that are found by number. An item keeps its number from its insertion to its removal. The items are in
//! chunks of 64, and the memory of a chunk without items is freed.

use super::index_list::{IndexList, Links, NIL};

/// Number of items in one chunk: one bit of a word for each item.
pub(crate) const CHUNK: u32 = u64::BITS;

/// A chunk: the items with 64 consecutive numbers. A chunk with a free number is on one of the slab's two lists: on
/// `with_room` when the chunk has memory, and on `vacant` when the chunk has no memory.
#[derive(Debug)]
struct Chunk<T> {
    /// The items. The slice is empty while the chunk has no memory.
    items: Box<[T]>,
    /// One bit for each number in use.
    used: u64,
    prev: u32,
    next: u32,
}

impl<T> Links for &mut [Chunk<T>] {
    fn links(&self, at: u32) -> (u32, u32) {
        let Chunk { prev, next, .. } = self[at as usize];
        (prev, next)
    }

    fn set_links(&mut self, at: u32, prev: u32, next: u32) {
        let chunk = &mut self[at as usize];
        (chunk.prev, chunk.next) = (prev, next);
    }

    fn set_prev(&mut self, at: u32, prev: u32) -> bool {
        self.get_mut(at as usize).map(|chunk| chunk.prev = prev).is_some()
    }

    fn set_next(&mut self, at: u32, next: u32) -> bool {
        self.get_mut(at as usize).map(|chunk| chunk.next = next).is_some()
    }
}

/// Items that are found by numbers from 0 on. Kernel: a `kmem_cache`; differs: an item is found by number.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    with_room: IndexList,
    vacant: IndexList,
    /// Memory of the chunk that became empty last. The slab keeps this memory, so that alternating insertions and
    /// removals of one item do not call the system's allocator.
    spare: Box<[T]>,
    /// Number of chunks with memory, without `spare`.
    nr_chunks: u32,
    len: u64,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        let (with_room, vacant) = (IndexList::default(), IndexList::default());
        Self { chunks: Vec::new(), with_room, vacant, spare: Box::default(), nr_chunks: 0, len: 0 }
    }
}

impl<T: Default> Slab<T> {
    /// Returns the item with the given number. The number is in use.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.chunks[(number / CHUNK) as usize].items[(number % CHUNK) as usize]
    }

    /// Returns the item with the given number. The number is in use.
    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.chunks[(number / CHUNK) as usize].items[(number % CHUNK) as usize]
    }

    /// Returns the item of a number, or `None` when the number is not in use.
    #[inline]
    pub(crate) fn find(&self, number: u32) -> Option<&T> {
        let chunk = self.chunks.get((number / CHUNK) as usize)?;
        (chunk.used >> (number % CHUNK) & 1 == 1).then(|| &chunk.items[(number % CHUNK) as usize])
    }

    /// Stores an item under a free number and returns the number. Returns `None` when no number below [`NIL`] is free
    /// or memory has run out.
    pub(crate) fn insert(&mut self, item: T) -> Option<u32> {
        let at = match self.with_room.first() {
            NIL => self.add_memory()?,
            at => at,
        };
        let chunk = &mut self.chunks[at as usize];
        let slot = chunk.used.trailing_ones();
        chunk.items[slot as usize] = item;
        chunk.used |= 1 << slot;
        if chunk.used == u64::MAX {
            self.with_room.unlink(&mut self.chunks[..], at);
        }
        self.len += 1;
        Some(at * CHUNK + slot)
    }

    /// Gives memory to a chunk on the list `vacant` and moves the chunk to the list `with_room`. Returns the index of
    /// the chunk, or `None` when memory or numbers have run out.
    #[cold]
    fn add_memory(&mut self) -> Option<u32> {
        if self.vacant.first() == NIL {
            // `at < NIL / CHUNK`, so that all numbers of the new chunk are below `NIL`.
            let at = u32::try_from(self.chunks.len()).ok().filter(|&at| at < NIL / CHUNK)?;
            self.chunks.try_reserve(1).ok()?;
            self.chunks.push(Chunk { items: Box::default(), used: 0, prev: NIL, next: NIL });
            self.vacant.push_first(&mut self.chunks[..], at);
        }
        if self.spare.is_empty() {
            let mut items = Vec::new();
            items.try_reserve_exact(CHUNK as usize).ok()?;
            items.resize_with(CHUNK as usize, T::default);
            self.spare = items.into();
        }
        let at = self.vacant.first();
        self.vacant.unlink(&mut self.chunks[..], at);
        self.chunks[at as usize].items = std::mem::take(&mut self.spare);
        self.with_room.push_first(&mut self.chunks[..], at);
        self.nr_chunks += 1;
        Some(at)
    }

    /// Removes and returns the item with the given number. The number is in use.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let (at, slot) = (number / CHUNK, number % CHUNK);
        let chunk = &mut self.chunks[at as usize];
        debug_assert!(chunk.used >> slot & 1 == 1, "removal of a free number");
        let item = std::mem::take(&mut chunk.items[slot as usize]);
        let was_full = chunk.used == u64::MAX;
        chunk.used &= !(1 << slot);
        let is_empty = chunk.used == 0;
        self.len -= 1;
        if was_full {
            self.with_room.push_first(&mut self.chunks[..], at);
        }
        if is_empty {
            self.take_memory(at);
        }
        item
    }

    /// Takes the memory from a chunk without items. The memory becomes the slab's spare memory, and the older spare
    /// memory is freed.
    #[cold]
    fn take_memory(&mut self, at: u32) {
        self.with_room.unlink(&mut self.chunks[..], at);
        self.spare = std::mem::take(&mut self.chunks[at as usize].items);
        self.vacant.push_first(&mut self.chunks[..], at);
        self.nr_chunks -= 1;
        while let Some(last) = self.chunks.len().checked_sub(1).filter(|&last| self.chunks[last].items.is_empty()) {
            self.vacant.unlink(&mut self.chunks[..], last as u32);
            self.chunks.pop();
        }
        if self.chunks.len() * 4 < self.chunks.capacity() {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// Returns the number of items.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the bytes of the slab's memory: the chunks with items, the spare memory, and the list of chunks.
    pub(crate) fn bytes(&self) -> u64 {
        let spare = u64::from(!self.spare.is_empty());
        let items = (u64::from(self.nr_chunks) + spare) * u64::from(CHUNK) * size_of::<T>() as u64;
        items + (self.chunks.capacity() * size_of::<Chunk<T>>()) as u64
    }

    /// Returns each number in use together with its item, in ascending order of numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().zip(0..).flat_map(|(chunk, at)| {
            let in_use = (0..CHUNK).filter(|slot| chunk.used >> slot & 1 == 1);
            in_use.map(move |slot| (at * CHUNK + slot, &chunk.items[slot as usize]))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Compares the slab's items, links and memory with a map that has the same items.
    fn check(slab: &mut Slab<u64>, model: &BTreeMap<u32, u64>) {
        assert!(slab.iter().map(|(number, &item)| (number, item)).eq(model.iter().map(|(&n, &i)| (n, i))));
        let (with_room, vacant) = (slab.with_room, slab.vacant);
        let mut listed: Vec<u32> = with_room.iter(&mut slab.chunks[..]).collect();
        assert!(listed.iter().all(|&at| !matches!(slab.chunks[at as usize].used, 0 | u64::MAX)));
        let empty: Vec<u32> = vacant.iter(&mut slab.chunks[..]).collect();
        assert!(empty.iter().all(|&at| slab.chunks[at as usize].items.is_empty()));
        let nr_full = slab.chunks.iter().filter(|chunk| chunk.used == u64::MAX).count();
        listed.extend(&empty);
        assert_eq!(listed.len() + nr_full, slab.chunks.len());
        assert_eq!((slab.len() as usize, slab.nr_chunks as usize), (model.len(), slab.chunks.len() - empty.len()));
    }

    #[test]
    fn random_insertions_and_removals_agree_with_a_map() {
        let (mut slab, mut model, mut rng) = (Slab::default(), BTreeMap::new(), ChaCha8Rng::seed_from_u64(1));
        for step in 0..4000u64 {
            let grows = rng.random_bool(if step % 1000 < 500 { 0.8 } else { 0.2 });
            let taken = model.keys().copied().nth(rng.random_range(0..model.len().max(1)));
            match taken.filter(|_| !grows) {
                Some(number) => assert_eq!(Some(slab.remove(number)), model.remove(&number)),
                None => {
                    let number = slab.insert(step).expect("memory");
                    assert_eq!((model.insert(number, step), slab.find(number)), (None, Some(&step)));
                }
            }
            if step % 50 == 0 {
                check(&mut slab, &model);
            }
        }
        check(&mut slab, &model);
    }

    #[test]
    fn memory_follows_the_items_down() {
        let mut slab = Slab::<u64>::default();
        assert_eq!(slab.bytes(), 0);
        let numbers: Vec<u32> = (0..6400).map(|item| slab.insert(item).expect("memory")).collect();
        assert!((51_200..=57_344).contains(&slab.bytes()), "{}", slab.bytes());
        for &number in &numbers[64..] {
            slab.remove(number);
        }
        assert!(slab.bytes() <= 2 * 512 + 8 * size_of::<Chunk<u64>>() as u64, "{}", slab.bytes());
        for &number in &numbers[..64] {
            slab.remove(number);
        }
        assert_eq!((slab.bytes() - 512) / size_of::<Chunk<u64>>() as u64, 0, "one spare chunk stays");
        assert_eq!((slab.find(0), slab.find(6399)), (None, None));
    }
}
