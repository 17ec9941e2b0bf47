//! Removal from a hash table that gives memory back.

use std::collections::HashMap;
use std::hash::Hash;

/// A removal does not shrink a hash table whose capacity is at most this number of elements.
const CAPACITY_MIN: usize = 64;

/// Removes an element, and halves the capacity of the table when less than a quarter of the capacity is used. A
/// shrink copies all elements, but the average time of a removal is constant, because between two shrinks half of the
/// elements are removed.
pub(crate) fn remove_and_shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: &K) -> Option<V> {
    let removed = map.remove(key);
    if map.capacity() > CAPACITY_MIN && map.len() * 4 < map.capacity() {
        map.shrink_to(map.capacity() / 2);
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_follows_the_elements_down() {
        let mut map: HashMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
        for key in 0..10_000 {
            assert_eq!(remove_and_shrink(&mut map, &key), Some(key));
        }
        assert!(map.capacity() <= 2 * CAPACITY_MIN, "{}", map.capacity());
        assert_eq!(remove_and_shrink(&mut map, &0), None);
    }
}
