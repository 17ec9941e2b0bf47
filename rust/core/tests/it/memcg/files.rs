//! Tests of the files of groups, such as `memory.max`. The tests check the text of the files after charges, and the
//! texts that the files accept.

use std::sync::Arc;

use swapcore::memcg::{DeadSwapin, GroupPolicy, Hierarchy, PAGE_COUNTER_MAX, SWAPPINESS_DEFAULT};
use swapcore::mm::VmaOptions;
use swapcore::readahead::Vpn;
use swapcore::{
    Config, FolioRef, GroupHandle, MappedFolio, Mm, Order, Orders, Profile, Result, Swap, SwapError, Swapin, SwpEntry,
};

use crate::common::{CPU, order, ram, storage_on};

const UNLIMITED: &str = "9223372036854771712\n";

fn machine_with(hierarchy: Hierarchy, switches: &[(&str, &str)]) -> Arc<Swap> {
    let mut config = Config::new(1, Profile::Newest);
    config.memcg = Some(hierarchy);
    for (name, word) in switches {
        config.switches.set(name, word).expect("a switch");
    }
    Arc::new(Swap::with_config(config).expect("memory"))
}

fn machine(hierarchy: Hierarchy) -> Arc<Swap> {
    machine_with(hierarchy, &[])
}

/// Returns a subsystem with one device of `pages` slots in memory.
fn machine_on(hierarchy: Hierarchy, pages: u32) -> Arc<Swap> {
    let swap = machine(hierarchy);
    storage_on(&swap, ram(pages), 1);
    swap
}

fn group(swap: &Arc<Swap>, name: &str) -> GroupHandle {
    GroupHandle::root(swap).and_then(|root| root.create(name)).expect("a group")
}

fn read(group: &GroupHandle, file: &str) -> String {
    group.swap().memcg_read(group.css(), file).expect(file)
}

fn write(group: &GroupHandle, file: &str, text: &str) -> Result<()> {
    group.swap().memcg_write(group.css(), file, text, false, CPU)
}

/// Returns the errno and the message of a result that is an error.
fn refused<T: std::fmt::Debug>(result: Result<T>) -> (i32, String) {
    let error = result.expect_err("refused");
    (error.errno(), error.to_string())
}

fn errno<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    refused(result).0
}

/// Returns a folio that is not all zeros and is charged to a group.
fn folio(group: &GroupHandle, log2: u8) -> FolioRef<'_> {
    let order = order(log2);
    let data = vec![7; order.nr_pages() as usize * 4096];
    group.swap().folio_with_in(order, &data, group.css(), CPU).expect("memory")
}

fn swap_out(group: &GroupHandle, folio: FolioRef<'_>) -> SwpEntry {
    group.swap().swap_out(MappedFolio::map(folio), CPU).map_err(|kept| kept.error).expect("room")
}

/// Reads a file whose lines have a key and a number. Returns the number on the line of `key`.
fn value(group: &GroupHandle, file: &str, key: &str) -> i64 {
    let text = read(group, file);
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{key} in {text}")).parse().expect("a number")
}

fn keys(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split(' ').next().expect("a word")).collect()
}

#[test]
fn groups_have_the_files_of_their_hierarchy_and_root_few_of_v2() {
    let swap = machine(Hierarchy::V2);
    let group = group(&swap, "a");
    let files = "memory.current memory.peak memory.min memory.low memory.high memory.max memory.events \
                 memory.events.local memory.oom.group memory.stat memory.reclaim memory.swap.current memory.swap.high \
                 memory.swap.max memory.swap.peak memory.swap.events memory.zswap.current memory.zswap.max memory.zswap.writeback";
    assert_eq!(swap.memcg_files(group.css()).expect("enabled").join(" "), files);
    let root = GroupHandle::root(&swap).expect("enabled");
    let files = swap.memcg_files(root.css()).expect("enabled");
    assert_eq!(files, ["memory.stat", "memory.reclaim", "memory.zswap.writeback"]);
    let (number, what) = refused(swap.memcg_read(root.css(), "memory.current"));
    assert_eq!((number, what.as_str()), (2, "the group \"/\" has no file \"memory.current\""));
    assert_eq!(errno(write(&root, "memory.max", "1G")), 2);
    assert_eq!(errno(write(&group, "memory.limit_in_bytes", "1G")), 2, "the file belongs to v1");

    let v1 = machine(Hierarchy::V1);
    let root = GroupHandle::root(&v1).expect("enabled");
    let names = v1.memcg_files(root.css()).expect("enabled");
    assert_eq!(names.len(), 14);
    assert!(names.contains(&"memory.memsw.limit_in_bytes") && !names.contains(&"memory.max"));
}

#[test]
fn without_memcg_there_are_no_files() {
    let swap = Arc::new(Swap::new(1, Profile::Newest).expect("memory"));
    let root = swapcore::base::types::CssId::ROOT;
    assert_eq!(refused(swap.memcg_files(root)), (22, "memcg is disabled".into()));
    assert_eq!(errno(swap.memcg_read(root, "memory.stat")), 22);
    assert_eq!(errno(GroupHandle::root(&swap)), 22);
    assert_eq!(errno(swap.swap_ages(root)), 22);
}

#[test]
fn every_readable_file_is_lines_and_every_limit_reads_as_it_was_written() {
    for hierarchy in [Hierarchy::V1, Hierarchy::V2] {
        let swap = machine(hierarchy);
        let group = group(&swap, "a");
        for file in swap.memcg_files(group.css()).expect("enabled") {
            match swap.memcg_read(group.css(), file) {
                Ok(text) => assert!(text.ends_with('\n') && !text.contains("\n\n"), "{file}: {text:?}"),
                Err(error) => {
                    assert_eq!((error.errno(), file.contains("reclaim") || file.contains("empty")), (22, true))
                }
            }
        }
    }
    let swap = machine(Hierarchy::V2);
    let group = group(&swap, "a");
    for file in ["memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.high", "memory.swap.max"] {
        let is_protection = matches!(file, "memory.min" | "memory.low");
        assert_eq!(read(&group, file), if is_protection { "0\n" } else { "max\n" }, "{file}");
        for (text, shown) in
            [("8191\n", "4096\n"), (" 3k", "0\n"), ("2M", "2097152\n"), ("\n", "0\n"), ("max\n", "max\n")]
        {
            write(&group, file, text).expect(file);
            assert_eq!(read(&group, file), shown, "{file} {text:?}");
        }
        for text in ["-1", "1M1", "many", "1 2"] {
            assert_eq!(errno(write(&group, file, text)), 22, "{file} {text:?}");
        }
        assert_eq!(read(&group, file), "max\n");
    }
    write(&group, "memory.max", "16E").expect("more than there can be");
    assert_eq!((group.group().memory.max_pages(), read(&group, "memory.max")), (PAGE_COUNTER_MAX, "max\n".into()));
    let (_, what) = refused(write(&group, "memory.swap.max", "1X"));
    assert_eq!(
        what,
        "memory.swap.max of \"/a\": \"1X\" refused: bytes, with K, M, G, T, P or E behind them, or max expected"
    );
    assert_eq!(errno(write(&group, "memory.current", "0")), 13);
    assert_eq!(errno(swap.memcg_read(group.css(), "memory.reclaim")), 22);
}

#[test]
fn usage_and_peaks_follow_charges() {
    let swap = machine_with(Hierarchy::V2, &[("memcg_stock", "off")]);
    storage_on(&swap, ram(2048), 1);
    let group = group(&swap, "a");
    let (a, b) = (folio(&group, 2), folio(&group, 0));
    assert_eq!((read(&group, "memory.current"), read(&group, "memory.swap.current")), ("20480\n".into(), "0\n".into()));
    let entry = swap_out(&group, a);
    assert_eq!(
        ["memory.current", "memory.peak", "memory.swap.current", "memory.swap.peak"].map(|file| read(&group, file)),
        ["4096\n", "20480\n", "16384\n", "16384\n"]
    );
    swap.put(entry, 2, CPU).expect("one reference a slot");
    for file in ["memory.peak", "memory.swap.peak"] {
        write(&group, file, "whatever").expect("any text resets it");
    }
    assert_eq!((read(&group, "memory.peak"), read(&group, "memory.swap.peak")), ("4096\n".into(), "8192\n".into()));
    drop(b);
    assert_eq!((read(&group, "memory.current"), read(&group, "memory.peak")), ("0\n".into(), "4096\n".into()));
}

#[test]
fn events_come_in_the_kernels_order_and_local_ones_stay() {
    let swap = machine_on(Hierarchy::V2, 2048);
    let parent = group(&swap, "p");
    let child = parent.create("c").expect("a group");
    assert_eq!(
        read(&parent, "memory.events"),
        "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\nsock_throttled 0\n"
    );
    assert_eq!(read(&parent, "memory.swap.events"), "high 0\nmax 0\nfail 0\n");
    write(&parent, "memory.swap.max", "0").expect("a limit");
    let refused = swap.swap_out(MappedFolio::map(folio(&child, 0)), CPU).map_err(|kept| kept.error);
    assert_eq!(errno(refused), 12);
    assert_eq!(read(&child, "memory.swap.events"), "high 0\nmax 1\nfail 1\n");
    assert_eq!(read(&parent, "memory.swap.events"), "high 0\nmax 1\nfail 1\n");
    write(&child, "memory.max", "0").expect("a limit");
    let resident = folio(&parent, 0);
    assert_eq!(errno(swap.folio_with_in(Order::ZERO, &[1], child.css(), CPU)), 12);
    assert!(value(&child, "memory.events", "max") > 0 && value(&child, "memory.events", "oom") > 0);
    assert_eq!(value(&parent, "memory.events", "max"), value(&child, "memory.events", "max"));
    assert_eq!(value(&parent, "memory.events.local", "max"), 0);
    drop(resident);
}

#[test]
fn a_limit_below_usage_reclaims_what_it_can_and_ends_with_an_event() {
    // The subsystem has no device, so reclaim cannot free pages.
    let swap = machine(Hierarchy::V2);
    let group = group(&swap, "a");
    let resident = folio(&group, 2);
    assert_eq!(read(&group, "memory.current"), "262144\n", "a stock is charged in advance");
    write(&group, "memory.high", "8K").expect("a limit below the usage is stored");
    assert_eq!((read(&group, "memory.current"), value(&group, "memory.events", "oom")), ("16384\n".into(), 0));
    swap.memcg_write(group.css(), "memory.max", "4K", true, CPU).expect("a limit below the usage is stored");
    assert_eq!((read(&group, "memory.max"), value(&group, "memory.events", "oom")), ("4096\n".into(), 0));
    write(&group, "memory.max", "4K").expect("a limit below the usage is stored");
    assert_eq!((read(&group, "memory.current"), value(&group, "memory.events", "oom")), ("16384\n".into(), 1));
    write(&group, "memory.max", "16K").expect("usage may be at the limit");
    assert_eq!(value(&group, "memory.events", "oom"), 1);
    drop(resident);
}

#[test]
fn swap_limits_are_lowered_without_reclaim() {
    let swap = machine_on(Hierarchy::V2, 2048);
    let group = group(&swap, "a");
    let entry = swap_out(&group, folio(&group, 3));
    write(&group, "memory.swap.max", "4096").expect("below usage");
    assert_eq!(
        (read(&group, "memory.swap.current"), read(&group, "memory.swap.max")),
        ("32768\n".into(), "4096\n".into())
    );
    swap.put(entry, 8, CPU).expect("one reference a slot");
}

#[test]
fn reclaim_takes_bytes_and_a_swappiness_and_says_when_it_was_short() {
    let swap = machine(Hierarchy::V2);
    let root = GroupHandle::root(&swap).expect("enabled");
    let group = group(&swap, "a");
    let resident = folio(&group, 2);
    for target in [&group, &root] {
        write(target, "memory.reclaim", "4095").expect("no page");
        for text in ["4K", "1M swappiness=0", "4096 swappiness=200", "4K swappiness=max"] {
            assert_eq!(errno(write(target, "memory.reclaim", text)), 11, "{text}: there is no swap");
        }
        for text in
            ["\n", "max", "4K swappiness=201", "4K swappiness", "4K swappiness=-1", "swappiness=60", "4K nice=3"]
        {
            assert_eq!(errno(write(target, "memory.reclaim", text)), 22, "{text}");
        }
    }
    let (_, what) = refused(write(&group, "memory.reclaim", "8K"));
    assert_eq!(what, "memory.reclaim of \"/a\": \"8K\" refused: 0 of 2 pages could be reclaimed");
    drop(resident);
}

#[test]
fn stat_of_v2_has_every_key_in_order_and_sums_what_is_below() {
    let swap = machine_on(Hierarchy::V2, 2048);
    let parent = group(&swap, "p");
    let child = parent.create("c").expect("a group");
    assert_eq!(
        keys(&read(&child, "memory.stat")),
        "anon file shmem zswap zswapped zswap_incomp swapcached anon_thp inactive_anon active_anon inactive_file \
         active_file unevictable workingset_refault_anon workingset_refault_file workingset_activate_anon \
         workingset_activate_file workingset_restore_anon workingset_restore_file pgscan pgsteal pgscan_kswapd pgscan_direct pgscan_khugepaged \
         pgscan_proactive pgsteal_kswapd pgsteal_direct pgsteal_khugepaged pgsteal_proactive pswpin pswpout pgfault \
         pgmajfault pgrefill pgactivate pgdeactivate swpin_zero swpout_zero zswpin zswpout zswpwb \
         zswpwb_proactive_b thp_swpout thp_swpout_fallback"
            .split_ascii_whitespace()
            .collect::<Vec<_>>()
    );
    let resident = MappedFolio::map(folio(&parent, 0));
    let huge = MappedFolio::map(folio(&child, 9));
    let stat = |group: &GroupHandle, key: &str| value(group, "memory.stat", key);
    assert_eq!(
        (stat(&parent, "anon"), stat(&child, "anon"), stat(&child, "anon_thp")),
        (513 << 12, 512 << 12, 512 << 12)
    );
    let on_lists = |group: &GroupHandle| stat(group, "inactive_anon") + stat(group, "active_anon");
    assert_eq!((on_lists(&parent), on_lists(&child)), (513 << 12, 512 << 12));
    let local = |group: &GroupHandle, key: &str| {
        let stats = swap.memcg_stat_local(group.css()).expect("enabled");
        stats.iter().find(|(name, _)| *name == key).expect(key).1
    };
    assert_eq!(local(&parent, "inactive_anon") + local(&parent, "active_anon"), 1 << 12);
    assert_eq!((local(&parent, "anon"), local(&child, "anon")), (1 << 12, 512 << 12));
    let entry = swap.swap_out(huge, CPU).map_err(|kept| kept.error).expect("room");
    let zeros = swap
        .folio_zeroed_in(Order::ZERO, child.css(), swapcore::base::gfp::Gfp::HIGHUSER_MOVABLE, CPU)
        .expect("memory");
    let zero_entry = swap_out(&child, zeros);
    assert_eq!(
        ["anon", "pswpout", "thp_swpout", "swpout_zero", "pswpin"].map(|key| stat(&parent, key)),
        [1 << 12, 512, 1, 1, 0]
    );
    let how = Swapin { faulting: parent.css(), ..Swapin::new(CPU, Orders::one(Order::MAX)) };
    drop(swap.swap_in(entry, 512, &how).map(|mapped| swap.folio_unmap(mapped, CPU)).expect("the slot can be read"));
    let zeros = swap.swap_in(zero_entry, 1, &Swapin { orders: Orders::ZERO, ..how }).expect("the slot can be read");
    assert_eq!(["pswpin", "swpin_zero", "pgmajfault"].map(|key| local(&child, key)), [512, 1, 0]);
    assert_eq!(local(&parent, "pgmajfault"), 2, "faults count for the faulting group");
    swap.folio_unmap(zeros, CPU).expect("mapped");
    // The statistics of a freed group still count in the sums of its ancestors.
    child.remove().expect("empty");
    drop(child);
    assert_eq!((stat(&parent, "pswpout"), local(&parent, "pswpout")), (512, 0));
    let root = GroupHandle::root(&swap).expect("enabled");
    assert_eq!((stat(&root, "pswpout"), stat(&root, "anon")), (512, 1 << 12));
    swap.folio_unmap(resident, CPU).expect("mapped");
}

#[test]
fn a_folio_that_gets_no_run_is_counted_by_its_group() {
    let swap = machine_on(Hierarchy::V2, 64);
    let group = group(&swap, "a");
    let kept = swap.swap_out(MappedFolio::map(folio(&group, 9)), CPU).expect_err("the device is smaller");
    assert_eq!((kept.error.errno(), value(&group, "memory.stat", "thp_swpout_fallback")), (28, 1));
    assert_eq!(read(&group, "memory.swap.events"), "high 0\nmax 0\nfail 1\n");
}

#[test]
fn faults_are_counted_by_the_group_of_the_task() {
    let swap = machine_on(Hierarchy::V2, 2048);
    let group = group(&swap, "a");
    let mm = Mm::in_group(swap.clone(), group.css()).expect("online");
    let first = mm.mmap(4, VmaOptions::default()).expect("room").pages().start;
    for page in [0, 1, 0] {
        mm.write((first.0 + page) * 4096, &[1], CPU).expect("mapped");
    }
    let stat = |key| value(&group, "memory.stat", key);
    assert_eq!((stat("pgfault"), stat("pgmajfault")), (2, 0));
    mm.pageout(first..Vpn(first.0 + 4), CPU).expect("mapped");
    mm.read(first.0 * 4096, &mut [0], CPU).expect("mapped");
    assert_eq!((stat("pgfault"), stat("pgmajfault"), stat("pswpout"), stat("pswpin")), (3, 1, 2, 1));
    assert_eq!(errno(group.remove()), 16, "a task is in it");
    drop(mm);
    group.remove().expect("empty");
}

#[test]
fn a_removed_group_can_be_read_and_not_written() {
    let swap = machine_on(Hierarchy::V2, 2048);
    let group = group(&swap, "a");
    let entry = swap_out(&group, folio(&group, 0));
    group.remove().expect("empty");
    assert_eq!(read(&group, "memory.swap.current"), "4096\n");
    assert_eq!(refused(write(&group, "memory.max", "1G")), (19, "the group \"a\" is removed".into()));
    assert_eq!(errno(group.set_policy(GroupPolicy::default())), 19);
    assert_eq!(errno(write(&group, "memory.current", "1G")), 13, "the file is read-only");
    swap.put(entry, 1, CPU).expect("one reference");
}

#[test]
fn limits_of_v1_keep_their_order_and_never_lie_below_usage() {
    let swap = machine(Hierarchy::V1);
    let group = group(&swap, "a");
    let (memory, memsw) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    assert_eq!((read(&group, memory), read(&group, memsw)), (UNLIMITED.into(), UNLIMITED.into()));
    assert_eq!(errno(write(&group, memsw, "1M")), 22, "the limit of memory, which has none yet, would be higher");
    write(&group, memory, "1M").expect("below memsw");
    write(&group, memsw, "1M").expect("as much as memory");
    let (number, what) = refused(write(&group, memory, "1052672"));
    assert_eq!(number, 22);
    assert!(what.contains("1052672 bytes, over that of memory and swap, 1048576"), "{what}");
    assert_eq!(errno(write(&group, memory, "max")), 22, "`max` is a word of v2");
    let resident = folio(&group, 2);
    write(&group, memory, "16K").expect("a limit may equal the usage");
    let (number, what) = refused(write(&group, memory, "12K"));
    assert_eq!((number, read(&group, memory)), (16, "16384\n".into()));
    assert!(what.ends_with("16384 bytes of memory are in use"), "{what}");
    write(&group, memsw, "16K").expect("a limit may equal the usage");
    write(&group, memsw, "-1").expect("no limit");
    write(&group, memory, "-1").expect("no limit");
    assert_eq!(read(&group, memory), UNLIMITED);
    drop(resident);
    let root = GroupHandle::root(&swap).expect("enabled");
    assert_eq!((errno(write(&root, memory, "-1")), errno(write(&root, memsw, "1G"))), (22, 22));
}

#[test]
fn usage_peaks_and_failures_of_v1() {
    let swap = machine_with(Hierarchy::V1, &[("memcg_stock", "off")]);
    storage_on(&swap, ram(2048), 1);
    let root = GroupHandle::root(&swap).expect("enabled");
    let group = group(&swap, "a");
    let entry = swap_out(&group, folio(&group, 2));
    let resident = MappedFolio::map(folio(&group, 0));
    let usage = ["memory.usage_in_bytes", "memory.memsw.usage_in_bytes"];
    assert_eq!(usage.map(|file| read(&group, file)), ["4096\n", "20480\n"]);
    assert_eq!(usage.map(|file| read(&root, file)), ["4096\n", "20480\n"], "root's are counted, not charged");
    let peaks = ["memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes"];
    assert_eq!(peaks.map(|file| read(&group, file)), ["16384\n", "20480\n"]);
    write(&group, peaks[0], "0").expect("any text resets it");
    assert_eq!(peaks.map(|file| read(&group, file)), ["4096\n", "20480\n"]);
    write(&group, "memory.limit_in_bytes", "4K").expect("a limit may equal the usage");
    assert_eq!(errno(swap.folio_with_in(Order::ZERO, &[1], group.css(), CPU)), 12);
    let failures = ["memory.failcnt", "memory.memsw.failcnt"].map(|file| read(&group, file));
    assert!(failures[0] != "0\n" && failures[1] == "0\n", "{failures:?}");
    write(&group, "memory.failcnt", "").expect("a write of 0 bytes does nothing");
    assert_eq!(read(&group, "memory.failcnt"), failures[0]);
    write(&group, "memory.failcnt", "\n").expect("any text resets it");
    assert_eq!(read(&group, "memory.failcnt"), "0\n");
    swap.folio_unmap(resident, CPU).expect("mapped");
    swap.put(entry, 4, CPU).expect("one reference a slot");
}

#[test]
fn stat_of_v1_shows_the_own_part_the_limits_and_the_sums() {
    let swap = machine_on(Hierarchy::V1, 2048);
    let parent = group(&swap, "p");
    let child = parent.create("c").expect("a group");
    write(&parent, "memory.limit_in_bytes", "1M").expect("a limit");
    write(&child, "memory.limit_in_bytes", "2M").expect("a limit");
    let entry = swap_out(&child, folio(&child, 2));
    let resident = MappedFolio::map(folio(&child, 0));
    let text = read(&child, "memory.stat");
    let names = keys(&text);
    let own = "cache rss rss_huge shmem mapped_file dirty writeback workingset_refault_anon workingset_refault_file swap \
               swapcached pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon inactive_file active_file unevictable";
    let own: Vec<_> = own.split_ascii_whitespace().collect();
    assert_eq!(names[..20], own);
    assert_eq!(names[20..22], ["hierarchical_memory_limit", "hierarchical_memsw_limit"]);
    assert_eq!(names[22..], own.iter().map(|key| format!("total_{key}")).collect::<Vec<_>>());
    let stat = |group: &GroupHandle, key: &str| value(group, "memory.stat", key);
    assert_eq!(
        (stat(&child, "hierarchical_memory_limit"), stat(&child, "hierarchical_memsw_limit")),
        (1 << 20, i64::MAX - 4095)
    );
    assert_eq!(
        (stat(&child, "rss"), stat(&child, "swap"), stat(&child, "pgpgin"), stat(&child, "pgpgout")),
        (4096, 16384, 2, 1)
    );
    assert_eq!((stat(&parent, "rss"), stat(&parent, "swap")), (0, 0));
    assert_eq!((stat(&parent, "total_rss"), stat(&parent, "total_swap")), (4096, 16384));
    swap.folio_unmap(resident, CPU).expect("mapped");
    swap.put(entry, 4, CPU).expect("one reference a slot");
}

#[test]
fn the_other_files_of_v1() {
    let swap = machine(Hierarchy::V1);
    let root = GroupHandle::root(&swap).expect("enabled");
    assert_eq!(read(&root, "memory.swappiness"), format!("{SWAPPINESS_DEFAULT}\n"));
    write(&root, "memory.swappiness", "10").expect("in range");
    let group = group(&swap, "a");
    assert_eq!(read(&group, "memory.swappiness"), "10\n", "swappiness is inherited");
    write(&group, "memory.swappiness", "200").expect("in range");
    assert_eq!((read(&group, "memory.swappiness"), read(&root, "memory.swappiness")), ("200\n".into(), "10\n".into()));
    for text in ["201", "-1", "max", "\n", "1K"] {
        assert_eq!(errno(write(&group, "memory.swappiness", text)), 22, "{text:?}");
    }
    assert_eq!(read(&group, "memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
    write(&group, "memory.oom_control", "1").expect("a switch");
    assert_eq!(value(&group, "memory.oom_control", "oom_kill_disable"), 1);
    assert_eq!(
        (errno(write(&group, "memory.oom_control", "2")), errno(write(&root, "memory.oom_control", "1"))),
        (22, 22)
    );
    let resident = folio(&group, 0);
    write(&group, "memory.force_empty", "0").expect("any text is accepted");
    assert_eq!(read(&group, "memory.usage_in_bytes"), "4096\n", "the stock is drained, and the page stays");
    assert_eq!(
        (errno(write(&root, "memory.force_empty", "0")), errno(swap.memcg_read(group.css(), "memory.force_empty"))),
        (22, 22)
    );
    drop(resident);
}

#[test]
fn a_handle_keeps_a_group_and_a_place_is_used_again_without_it() {
    let swap = machine(Hierarchy::V2);
    let root = GroupHandle::root(&swap).expect("enabled");
    let first = root.create("a").expect("a group");
    let css = first.css();
    assert_eq!(first.parent().map(|parent| parent.css()), Some(root.css()));
    assert_eq!(root.children().iter().map(GroupHandle::css).collect::<Vec<_>>(), [css]);
    first.remove().expect("empty");
    assert!(root.children().is_empty() && GroupHandle::get(&swap, css).is_some(), "a handle holds the group");
    assert_ne!(root.create("a").expect("the name is free").css(), css);
    drop(first);
    assert!(GroupHandle::get(&swap, css).is_none(), "no handle holds the group");
    assert_eq!(root.create("b").expect("a group").css(), css);
}

#[test]
fn a_policy_is_inherited_and_checked_against_the_owner_store() {
    let swap = machine(Hierarchy::V2);
    let group = group(&swap, "a");
    let fault_mm = GroupPolicy { dead_owner: Some(DeadSwapin::FaultMm), ..GroupPolicy::default() };
    let (number, what) = refused(group.set_policy(fault_mm.clone()));
    assert!(number == 22 && what.contains("owner_store"), "{what}");
    group.set_policy(GroupPolicy { may_swap: false, ..GroupPolicy::default() }).expect("online");
    let below = group.create("b").expect("a group");
    assert!(!below.group().policy().may_swap);
    let other = machine_with(Hierarchy::V2, &[("owner_store", "cluster_table")]);
    GroupHandle::root(&other).expect("enabled").set_policy(fault_mm).expect("the table implements the rule");
}

#[test]
fn owners_of_slots_and_the_ages_of_their_evictions() {
    for (store, is_recorded) in [("shadow", false), ("array", true), ("cluster_table", true), ("trampoline", false)] {
        let swap = machine_with(Hierarchy::V2, &[("owner_store", store)]);
        storage_on(&swap, ram(2048), 1);
        let (a, b) = (group(&swap, "a"), group(&swap, "b"));
        let first = swap_out(&a, folio(&a, 0));
        let others: Vec<_> = (0..3).map(|_| swap_out(&a, folio(&a, 0))).collect();
        let foreign = swap_out(&b, folio(&b, 0));
        assert_eq!(swap.slot_owner_id(first).expect("a slot"), a.group().id(), "{store}");
        assert_eq!(swap.slot_owner_id(foreign).expect("a slot"), b.group().id(), "{store}");
        let mut ages = swap.swap_ages(a.css()).expect("enabled");
        ages.sort_unstable();
        // With the owner stores `array` and `cluster_table`, the lruvec of root counts all evictions. The later
        // eviction of group b's page then makes the pages of group a one step older.
        assert_eq!(ages, if is_recorded { [2, 3, 4, 5] } else { [1, 2, 3, 4] }, "{store}");
        assert_eq!(swap.swap_ages(b.css()).expect("enabled"), [1], "{store}");
        let resident = folio(&a, 0);
        let entry = swap.on_cpu(CPU).expect("a cpu").folio_alloc_swap(resident.folio()).expect("room");
        let cached = swap.slot_owner_id(entry).expect("a slot");
        assert_eq!(cached.0 != 0, is_recorded, "{store}");
        for entry in others.into_iter().chain([first, foreign]) {
            swap.put(entry, 1, CPU).expect("one reference");
        }
        assert_eq!(swap.slot_owner_id(first).expect("a slot").0, 0, "a free slot has no owner");
        assert!(swap.swap_ages(a.css()).expect("enabled").is_empty());
    }
    let swap = machine(Hierarchy::V2);
    assert!(matches!(swap.slot_owner_id(SwpEntry::from_value(1)), Err(SwapError::NoDevice(_))));
}

#[test]
fn attributes_keywords_and_counters_have_the_names_of_their_hierarchy() {
    for (hierarchy, second) in [(Hierarchy::V2, "swap_pages"), (Hierarchy::V1, "memsw_pages")] {
        let swap = machine(hierarchy);
        let a = group(&swap, "a");
        let (exact, keyword) = match hierarchy {
            Hierarchy::V2 => ("memory.swap.max", "swap_max"),
            Hierarchy::V1 => ("memory.limit_in_bytes", "limit_in_bytes"),
        };
        let attribute = exact.replace('.', "_");
        assert_eq!(swap.memcg_file_of(a.css(), &attribute), Ok(Some(exact)));
        assert_eq!(swap.memcg_file_of(a.css(), keyword), Ok(None));
        assert_eq!(swap.memcg_file_of_keyword(a.css(), &attribute), Ok(Some(exact)));
        assert_eq!(swap.memcg_file_of_keyword(a.css(), keyword), Ok(Some(exact)));
        assert_eq!(swap.memcg_file_of_keyword(a.css(), "memory"), Ok(None));
        let counters = swap.memcg_counters(a.css()).expect("memcg is on");
        assert_eq!((counters[0], counters[1], counters.len()), (("memory_pages", 0), (second, 0), 20));
        swap.check().expect("every invariant");
    }
}
