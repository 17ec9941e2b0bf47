//! Tests of single operations on virtual slots: the backing of a slot, charges, and the reverse map.

use std::sync::Arc;

use swapcore::base::limits::{PAGE_SIZE, SWAP_NR_ORDERS};
use swapcore::base::types::CssId;
use swapcore::memcg::Hierarchy;
use swapcore::table::{Backing, EntryKind};
use swapcore::{
    Config, FolioFlags, MappedFolio, Moved, Orders, Profile, Swap, SwapDevice, Swapin, SwpEntry, Visibility,
};

use crate::common::{CPU, ghost_on, order, ram, stat, storage_on, virtual_spec};

struct Machine {
    swap: Swap,
    ghost: Arc<SwapDevice>,
    real: Arc<SwapDevice>,
}

fn machine(real_pages: u32) -> Machine {
    let config = Config { memcg: Some(Hierarchy::V2), ..Config::new(1, Profile::Newest) };
    let swap = Swap::with_config(config).expect("a good config");
    let ghost = ghost_on(&swap, 1 << 20, virtual_spec(Visibility::Visible), 10);
    let real = storage_on(&swap, ram(real_pages), 1);
    Machine { swap, ghost, real }
}

impl Machine {
    fn folio(&self, log2: u8, byte: u8) -> MappedFolio<'_> {
        let data = vec![byte; PAGE_SIZE << log2];
        MappedFolio::map(self.swap.folio_with(order(log2), &data).expect("memory"))
    }

    fn out(&self, log2: u8, byte: u8) -> SwpEntry {
        self.swap.swap_out(self.folio(log2, byte), CPU).map_err(|kept| kept.error).expect("room")
    }

    fn swap_in(&self, entry: SwpEntry, log2: u8) -> MappedFolio<'_> {
        self.swap.swap_in(entry, 1 << log2, &Swapin::new(CPU, Orders::one(order(log2)))).expect("readable")
    }

    fn backing(&self, entry: SwpEntry, nr_max: u32) -> (Backing, u32) {
        self.swap.backing(entry, nr_max, CPU).expect("on")
    }

    fn real_of(&self, entry: SwpEntry) -> SwpEntry {
        match self.backing(entry, 1).0 {
            Backing::Swapfile(real) => real,
            other => panic!("{entry} is on {other:?}"),
        }
    }

    fn inuse(&self) -> (u64, u64) {
        (self.swap.inuse_pages(self.ghost.ty()), self.swap.inuse_pages(self.real.ty()))
    }
}

#[test]
fn hints_at_virtual_devices_are_dumped_apart_from_the_others() {
    let machine = machine(4096);
    let slot = machine.out(0, 1);
    let next = |first: SwpEntry| {
        let mut hints = [SwpEntry::NONE; SWAP_NR_ORDERS];
        hints[0] = first.plus(1);
        vec![hints]
    };
    assert_eq!(machine.swap.dump_virtual_hints(), next(slot));
    assert_eq!(machine.swap.dump_hints(), next(machine.real_of(slot)));
    machine.swap.check().expect("every invariant");
}

#[test]
fn a_folio_goes_out_to_a_run_that_names_it_back() {
    let machine = machine(4096);
    let entry = machine.out(4, 7);
    assert_eq!(entry.ty(), machine.ghost.ty());
    let real = machine.real_of(entry);
    assert_eq!(machine.backing(entry, 16), (Backing::Swapfile(real), 16));
    for i in 0..16 {
        let word = machine.real.get(real.plus(i).offset());
        assert_eq!((word.kind(), word.owner()), (EntryKind::Pointer, Some(entry.plus(i))));
    }
    assert_eq!(machine.inuse(), (16, 16));
    machine.swap.put(entry, 16, CPU).expect("one reference a slot");
    assert_eq!(machine.inuse(), (0, 0), "the real slots are freed with the virtual slots");
    machine.swap.check().expect("every invariant");
}

#[test]
fn zeros_and_what_was_never_written_have_nothing_behind_them() {
    let machine = machine(4096);
    let entry = machine.out(3, 0);
    assert_eq!((machine.backing(entry, 8), machine.inuse()), ((Backing::Zero, 8), (8, 0)));
    let folio = machine.folio(0, 5);
    machine.swap.folio_alloc_swap(folio.folio(), CPU).expect("room");
    let cached = folio.folio().entry().expect("just given");
    assert_eq!(machine.backing(cached, 1), (Backing::Folio, 1));
    machine.swap.check().expect("every invariant");
    machine.swap.folio_unmap(folio, CPU).expect("a cpu");
    machine.swap.put(entry, 8, CPU).expect("one reference a slot");
    assert_eq!(machine.inuse(), (0, 0));
}

#[test]
fn a_page_that_turns_to_zeros_gives_its_real_slot_up() {
    let machine = machine(4096);
    let entry = machine.out(0, 5);
    // A second reference keeps the slot in use after the swap-in.
    machine.swap.dup(entry, 1, CPU).expect("in use");
    let folio = machine.swap_in(entry, 0);
    assert!(matches!(machine.backing(entry, 1).0, Backing::Swapfile(_)), "the real slot is kept for reuse");
    folio.folio().bytes_mut().expect("no views").fill(0);
    folio.folio().set(FolioFlags::DIRTY);
    assert_eq!(machine.swap.swap_out(folio, CPU).map_err(|kept| kept.error), Ok(entry));
    assert_eq!((machine.backing(entry, 1).0, machine.inuse()), (Backing::Zero, (1, 0)));
    machine.swap.check().expect("every invariant");
}

#[test]
fn the_reverse_map_says_when_only_the_cache_has_a_slot() {
    let machine = machine(4096);
    let entry = machine.out(0, 5);
    let real = machine.real_of(entry);
    let says = || machine.real.get(real.offset()).is_cache_only_pointer();
    let folio = machine.swap.swapin_entry(entry, &Swapin::new(CPU, Orders::ZERO)).expect("readable");
    assert!(!says());
    machine.swap.on_cpu(CPU).expect("a cpu").folio_put_swap(folio.folio(), None).expect("a reference");
    assert!(says(), "the last reference is gone");
    machine.swap.check().expect("every invariant");
    machine.swap.on_cpu(CPU).expect("a cpu").folio_dup_swap(folio.folio(), None).expect("cached");
    assert!(!says(), "the slot has a reference again");
    machine.swap.put(entry, 1, CPU).expect("the reference");
    drop(folio);
    machine.swap.shrink_swap_cache(u64::MAX, CPU).expect("a cpu");
    machine.swap.check().expect("every invariant");
    assert_eq!(machine.inuse(), (0, 0));
}

/// A real device that is nearly full frees real slots if only the cache holds their virtual slots.
#[test]
fn a_real_device_takes_cache_only_slots_back_through_the_reverse_map() {
    let machine = machine(1025);
    let entries: Vec<SwpEntry> = (0..1000).map(|_| machine.out(0, 5)).collect();
    assert_eq!(machine.inuse(), (1000, 1000));
    // The test inserts 64 slots into the cache and then drops the reference of each slot, so that only the cache
    // holds these slots.
    let folios: Vec<_> = entries[..64]
        .iter()
        .map(|&entry| machine.swap.swapin_entry(entry, &Swapin::new(CPU, Orders::ZERO)).expect("readable"))
        .collect();
    for folio in &folios {
        machine.swap.on_cpu(CPU).expect("a cpu").folio_put_swap(folio.folio(), None).expect("a reference");
    }
    drop(folios);
    let more: Vec<SwpEntry> = (0..64).map(|_| machine.out(0, 9)).collect();
    assert!(more.iter().all(|&entry| matches!(machine.backing(entry, 1).0, Backing::Swapfile(_))));
    assert_eq!(machine.swap.inuse_pages(machine.real.ty()), 1000);
    machine.swap.check().expect("every invariant");
}

#[test]
fn swap_is_charged_when_a_real_slot_is_attached() {
    let machine = machine(4096);
    let groups = machine.swap.memcg().expect("enabled");
    let group = groups.create(CssId::ROOT, "a").expect("a name");
    let out = |byte: u8| {
        let folio = machine.swap.folio_with_in(order(2), &[byte; 4 * PAGE_SIZE], group.css(), CPU).expect("memory");
        machine.swap.swap_out(MappedFolio::map(folio), CPU)
    };
    let zeros = out(0).map_err(|kept| kept.error).expect("room");
    assert_eq!(group.swap.usage_pages(), 0, "zeros are not charged");
    let data = out(7).map_err(|kept| kept.error).expect("room");
    assert_eq!(group.swap.usage_pages(), 4);
    group.swap.set_max(6);
    let kept = out(8).expect_err("over the limit");
    assert_eq!((kept.error.errno(), group.swap.usage_pages()), (12, 4));
    machine.swap.check().expect("every invariant");
    machine.swap.folio_unmap(kept.folio, CPU).expect("a cpu");
    for entry in [zeros, data] {
        machine.swap.put(entry, 4, CPU).expect("one reference a slot");
    }
    assert_eq!((group.swap.usage_pages(), machine.inuse()), (0, (0, 0)));
    machine.swap.check().expect("every invariant");
}

#[test]
fn data_moves_from_one_real_device_to_another() {
    let machine = machine(4096);
    let other = storage_on(&machine.swap, ram(64), 0);
    let entry = machine.out(0, 7);
    let old = machine.real_of(entry);
    assert_eq!(machine.swap.move_backing(entry, other.ty(), CPU), Ok(Moved::Done));
    let new = machine.real_of(entry);
    assert_eq!((old.ty(), new.ty()), (machine.real.ty(), other.ty()));
    assert_eq!(machine.swap.inuse_pages(machine.real.ty()), 0);
    assert_eq!(machine.swap.move_backing(entry, other.ty(), CPU), Ok(Moved::InPlace));
    assert_eq!(machine.real_of(entry), new);
    machine.swap.shrink_swap_cache(u64::MAX, CPU).expect("a cpu");
    let folio = machine.swap_in(entry, 0);
    assert!(folio.folio().bytes().expect("no views").iter().all(|&byte| byte == 7));
    machine.swap.check().expect("every invariant");
    machine.swap.folio_unmap(folio, CPU).expect("a cpu");
    assert_eq!(machine.swap.move_backing(entry, other.ty(), CPU), Ok(Moved::Freed));
}

#[test]
fn a_real_device_goes_off_without_a_look_at_who_refers_to_the_slots() {
    // The real device has at least one cluster for each order.
    let machine = machine(8192);
    let entries: Vec<SwpEntry> = (0..9).map(|log2| machine.out(log2, log2 + 1)).collect();
    machine.swap.swapoff(&machine.real, |entry, _| panic!("{entry} has a reference")).expect("memory");
    machine.swap.check().expect("every invariant");
    assert_eq!(["swapoff_rmap_slots", "swapoff_ptes_visited"].map(|name| stat(&machine.swap, name)), [511, 0]);
    for (entry, log2) in entries.into_iter().zip(0..) {
        assert_eq!(machine.backing(entry, 1), (Backing::Folio, 1), "the page is in memory only");
        let folio = machine.swap_in(entry, log2);
        assert_eq!(folio.folio().order(), order(log2), "the folio has the order of the swap-out");
        assert!(folio.folio().bytes().expect("no views").iter().all(|&byte| byte == log2 + 1));
        machine.swap.folio_unmap(folio, CPU).expect("a cpu");
    }
    machine.swap.check().expect("every invariant");
    assert_eq!(machine.swap.inuse_pages(machine.ghost.ty()), 0);
}
