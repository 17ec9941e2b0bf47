//! A doubly linked list whose links are element numbers and are stored inside the elements. Kernel: `struct
//! list_head`.

/// The number that means "no element". No element has this number, because every array of elements is shorter.
pub(crate) const NIL: u32 = u32::MAX;

/// Access to the links of the elements that can be on a list. Each element has a number.
pub(crate) trait Links {
    /// Returns the numbers of the previous and the next element for an element that is on a list. The number is
    /// [`NIL`] at an end of the list.
    fn links(&self, at: u32) -> (u32, u32);

    /// Sets the previous and the next neighbour of the element `at`.
    fn set_links(&mut self, at: u32, prev: u32, next: u32);

    /// Sets the previous neighbour of the element `at`. Returns false when there is no element `at`, as for [`NIL`].
    fn set_prev(&mut self, at: u32, prev: u32) -> bool;

    /// Sets the next neighbour of the element `at`. Returns false when there is no element `at`, as for [`NIL`].
    fn set_next(&mut self, at: u32, next: u32) -> bool;
}

/// A list: the numbers of its first and its last element. The caller of each method passes the links of all elements
/// and holds the lock that protects the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexList {
    first: u32,
    last: u32,
}

impl Default for IndexList {
    fn default() -> Self {
        Self { first: NIL, last: NIL }
    }
}

impl IndexList {
    /// Returns the first element, or [`NIL`] when the list is empty.
    #[inline]
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// Returns the last element, or [`NIL`] when the list is empty.
    #[inline]
    pub(crate) fn last(&self) -> u32 {
        self.last
    }

    /// Puts an element that is on no list at the head of this list. Kernel: `list_add`.
    #[inline]
    pub(crate) fn push_first(&mut self, mut links: impl Links, at: u32) {
        links.set_links(at, NIL, self.first);
        if !links.set_prev(self.first, at) {
            self.last = at;
        }
        self.first = at;
    }

    /// Puts an element that is on no list at the tail of this list. Kernel: `list_add_tail`.
    #[inline]
    pub(crate) fn push_last(&mut self, mut links: impl Links, at: u32) {
        links.set_links(at, self.last, NIL);
        if !links.set_next(self.last, at) {
            self.first = at;
        }
        self.last = at;
    }

    /// Puts the element `at`, which is on no list, directly behind the element `prev`, which is on this list. Kernel:
    /// `list_add`.
    #[inline]
    pub(crate) fn insert_behind(&mut self, mut links: impl Links, at: u32, prev: u32) {
        let (_, next) = links.links(prev);
        links.set_links(at, prev, next);
        links.set_next(prev, at);
        if !links.set_prev(next, at) {
            self.last = at;
        }
    }

    /// Removes an element from this list. Kernel: `list_del`.
    #[inline]
    pub(crate) fn unlink(&mut self, mut links: impl Links, at: u32) {
        let (prev, next) = links.links(at);
        if !links.set_next(prev, next) {
            self.first = next;
        }
        if !links.set_prev(next, prev) {
            self.last = prev;
        }
    }

    /// Returns the elements, from the first element to the last.
    pub(crate) fn iter(self, links: impl Links) -> impl Iterator<Item = u32> {
        let mut at = self.first;
        std::iter::from_fn(move || {
            let here = (at != NIL).then_some(at)?;
            at = links.links(here).1;
            Some(here)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    impl Links for &mut Vec<(u32, u32)> {
        fn links(&self, at: u32) -> (u32, u32) {
            self[at as usize]
        }

        fn set_links(&mut self, at: u32, prev: u32, next: u32) {
            self[at as usize] = (prev, next);
        }

        fn set_prev(&mut self, at: u32, prev: u32) -> bool {
            self.get_mut(at as usize).map(|links| links.0 = prev).is_some()
        }

        fn set_next(&mut self, at: u32, next: u32) -> bool {
            self.get_mut(at as usize).map(|links| links.1 = next).is_some()
        }
    }

    #[test]
    fn a_list_is_a_sequence_with_removal_anywhere() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut links = vec![(0, 0); 16];
        let (mut list, mut model) = (IndexList::default(), VecDeque::new());
        for _ in 0..2000 {
            let at = rng.random_range(0..16);
            match (model.iter().position(|&other| other == at), rng.random_range(0..3)) {
                (Some(place), _) => {
                    list.unlink(&mut links, at);
                    model.remove(place);
                }
                (None, 0) => {
                    list.push_first(&mut links, at);
                    model.push_front(at);
                }
                (None, 1) => {
                    list.push_last(&mut links, at);
                    model.push_back(at);
                }
                (None, _) if model.is_empty() => {}
                (None, _) => {
                    let place = rng.random_range(0..model.len());
                    list.insert_behind(&mut links, at, model[place]);
                    model.insert(place + 1, at);
                }
            }
            assert_eq!(list.iter(&mut links).collect::<VecDeque<_>>(), model);
            let ends = (model.front().map_or(NIL, |&at| at), model.back().map_or(NIL, |&at| at));
            assert_eq!((list.first(), list.last()), ends);
            assert!(model.back().is_none_or(|&at| links[at as usize].1 == NIL));
        }
    }
}
