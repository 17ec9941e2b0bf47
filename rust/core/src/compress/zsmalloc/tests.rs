//! Tests of storing, counting and moving objects of a pool.

use super::*;

fn filled(pool: &Pool, nr: u32, bytes: usize) -> Vec<Handle> {
    (0..nr).map(|i| pool.store(i, &vec![i as u8; bytes]).expect("room")).collect()
}

#[test]
fn a_class_takes_whole_zspages_and_gives_them_back() {
    let pool = Pool::new(u64::MAX);
    let handles = filled(&pool, 14, 1560);
    let totals = pool.totals();
    assert_eq!((totals.nr_objects, totals.data_bytes, totals.nr_pages), (14, 14 * 1560, 10));
    for (i, &handle) in handles.iter().enumerate() {
        pool.read(handle, 1560, || true, |data| assert!(data.iter().all(|&byte| byte == i as u8)));
        assert!(pool.read(handle, 1560, || false, |_| ()).is_none());
    }
    handles.into_iter().for_each(|handle| pool.free(handle, 1560));
    assert_eq!(pool.totals(), PoolTotals { nr_pages_max: 10, ..PoolTotals::default() });
}

#[test]
fn the_fullest_zspage_is_taken_from_first() {
    let pool = Pool::new(u64::MAX);
    let handles = filled(&pool, 39, 1560);
    handles[..10].iter().chain(&handles[13..15]).for_each(|&handle| pool.free(handle, 1560));
    let next: Vec<_> = filled(&pool, 3, 1560).iter().map(|handle| handle.zspage()).collect();
    assert_eq!(next, [1, 1, 0]);
}

#[test]
fn the_limit_is_never_passed() {
    let pool = Pool::new(7);
    let handles = filled(&pool, 13, 1560);
    assert_eq!(pool.store(0, &[0; 1560]), Err(Full::Limit));
    let huge = [pool.store(0, &[1; PAGE_SIZE]), pool.store(0, &[1; PAGE_SIZE])].map(|stored| stored.expect("room"));
    assert_eq!(pool.store(0, &[1; PAGE_SIZE]), Err(Full::Limit));
    assert_eq!((pool.totals().nr_pages, pool.totals().nr_huge), (7, 2));
    huge.into_iter().for_each(|handle| pool.free(handle, PAGE_SIZE));
    handles.into_iter().for_each(|handle| pool.free(handle, 1560));
    assert_eq!(pool.totals().nr_pages, 0);
}

#[test]
fn compaction_empties_zspages_and_moves_what_is_theirs() {
    let pool = Pool::new(u64::MAX);
    let places: Vec<_> = filled(&pool, 130, 1560).into_iter().map(|handle| SpinMutex::new(Some(handle))).collect();
    for place in places.iter().step_by(2).chain(places.iter().skip(1).step_by(4)) {
        pool.free(place.lock().take().expect("taken once"), 1560);
    }
    let kept = pool.totals();
    let follow = |owner: u32, old, new| {
        let mut place = places[owner as usize].lock();
        assert_eq!(*place, Some(old));
        *place = Some(new);
        true
    };
    assert_eq!(pool.compact(|_, _, _| false), 0, "no owner lets its object move");
    assert_eq!(pool.totals(), kept);
    let pages = pool.compact(follow);
    // The remaining 32 objects fill 3 zspages of 5 pages each, so compaction frees 35 of the 50 pages.
    assert_eq!((kept.nr_objects, kept.nr_pages, pages), (32, 50, 35));
    for (i, place) in places.iter().enumerate() {
        if let Some(handle) = place.lock().take() {
            pool.read(handle, 1560, || true, |data| assert!(data.iter().all(|&byte| byte == i as u8)));
            pool.free(handle, 1560);
        }
    }
    assert_eq!((pool.totals().nr_pages, pool.totals().data_bytes), (0, 0));
}
