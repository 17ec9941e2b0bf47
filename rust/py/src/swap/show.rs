//! Methods of `Swap` that show the state of the subsystem: slots, event records, counters, memory and the lists of
//! clusters.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use swapcore::base::event::EventRecord;
use swapcore::cluster::ListId;
use swapcore::show::dump::DeviceDump;
use swapcore::table::{EntryKind, SwapTableEntry};

use super::Swap;
use super::alloc::DETACH_SLOTS;
use super::backing::backing_dict;
use crate::border::buffer::{column, column_of_words};
use crate::border::errors::Result;
use crate::border::number::{Cpu, NrRecords, NrSlots};
use crate::device::all_memory_dict;
use crate::memcg::MemCgroup;
use crate::slots::args::{EntriesArg, EntryArg};
use crate::slots::entry::SwpEntry;

/// Returns a dict that describes a slot: the fields of the slot's table entry, and the reference count of the slot.
fn slot_dict<'py>(py: Python<'py>, word: SwapTableEntry, count: u32) -> Result<Bound<'py, PyDict>> {
    let slot = PyDict::new(py);
    slot.set_item("kind", word.kind().name())?;
    slot.set_item("count", count)?;
    slot.set_item("is_zero", word.is_zero())?;
    slot.set_item("word", word.raw())?;
    slot.set_item("pfn", word.pfn().map(|pfn| pfn.0))?;
    Ok(slot)
}

/// Returns the hints of every CPU as a list of dicts by order.
fn hints_list<'py, const N: usize>(
    py: Python<'py>,
    hints: &[[swapcore::SwpEntry; N]],
) -> Result<Vec<Bound<'py, PyDict>>> {
    hints.iter().map(|hints| hints_dict(py, hints)).collect()
}

fn device_dict<'py>(py: Python<'py>, device: &DeviceDump) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("type", device.ty.0)?;
    dict.set_item("priority", device.prio)?;
    set_fields!(dict, device: inuse_pages);
    let by_order = [PyDict::new(py), PyDict::new(py)];
    let mut plain = [("free", Vec::new()), ("full", Vec::new()), ("discard", Vec::new())];
    for (id, clusters) in &device.lists {
        let clusters: Vec<u32> = clusters.iter().map(|idx| idx.0).collect();
        match id {
            ListId::Free => plain[0].1 = clusters,
            ListId::Full => plain[1].1 = clusters,
            ListId::Discard => plain[2].1 = clusters,
            ListId::Nonfull(order) => by_order[0].set_item(order.get(), clusters)?,
            ListId::Frag(order) => by_order[1].set_item(order.get(), clusters)?,
        }
    }
    plain.into_iter().try_for_each(|(name, clusters)| dict.set_item(name, clusters))?;
    let [nonfull, frag] = by_order;
    dict.set_item("nonfull", nonfull)?;
    dict.set_item("frag", frag)?;
    let next = device.next.iter().enumerate().filter(|&(_, &at)| at != 0);
    dict.set_item("next", next.into_py_dict(py)?)?;
    dict.set_item("named_hints", hints_list(py, &device.named_hints)?)?;
    Ok(dict)
}

fn hints_dict<'py>(py: Python<'py>, hints: &[swapcore::SwpEntry]) -> Result<Bound<'py, PyDict>> {
    let hints = hints.iter().enumerate().filter(|(_, hint)| hint.offset().0 != 0);
    Ok(hints.map(|(order, hint)| (order, (hint.ty().0, hint.offset().0))).into_py_dict(py)?)
}

/// Returns a dict with one column for each field of the event records, and the number of lost records.
fn events_dict<'py>(py: Python<'py>, records: &[EventRecord], nr_lost: u64) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let rows = || records.iter();
    dict.set_item("time_ns", column(py, "Q", rows().map(|row| row.time_ns.to_ne_bytes()))?)?;
    dict.set_item("entry", column(py, "Q", rows().map(|row| row.entry.value().to_ne_bytes()))?)?;
    dict.set_item("kind", column(py, "B", rows().map(|row| [row.kind as u8]))?)?;
    dict.set_item("order", column(py, "B", rows().map(|row| [row.order.get()]))?)?;
    dict.set_item("cpu", column(py, "H", rows().map(|row| row.cpu.0.to_ne_bytes()))?)?;
    dict.set_item("errno", column(py, "i", rows().map(|row| row.errno.to_ne_bytes()))?)?;
    dict.set_item("nr_lost", nr_lost)?;
    Ok(dict)
}

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.lookup)]
    #[pyo3(signature = (entry, *, cpu = None))]
    fn lookup<'py>(&self, py: Python<'py>, entry: EntryArg<'_>, cpu: Option<Cpu>) -> Result<Bound<'py, PyDict>> {
        let entry = entry.entry();
        let mut on_cpu = self.on_cpu(cpu)?;
        let word = on_cpu.lookup(entry)?;
        // A real slot that backs a virtual slot has no reference count, so its count is shown as 0.
        let count = if word.kind() == EntryKind::Pointer { 0 } else { on_cpu.swap_count(entry)? };
        let backing = on_cpu.backing(entry, 1)?;
        let css = on_cpu.slot_group(entry)?;
        drop(on_cpu);
        let slot = slot_dict(py, word, count)?;
        slot.set_item("memcg", css.and_then(|css| MemCgroup::of(&self.swap, css)))?;
        if let Some(owner) = word.owner() {
            slot.set_item("owner", SwpEntry::single(owner))?;
            slot.set_item("is_cache_only", word.is_cache_only_pointer())?;
        } else if self.swap.device(entry.ty())?.is_virtual() {
            slot.set_item("backing", backing_dict(py, backing.0, backing.1)?)?;
        }
        Ok(slot)
    }

    #[doc = stub!(Swap.lookup_many)]
    #[pyo3(signature = (entries, *, cpu = None))]
    fn lookup_many<'py>(
        &self,
        py: Python<'py>,
        entries: EntriesArg<'_>,
        cpu: Option<Cpu>,
    ) -> Result<Bound<'py, PyAny>> {
        let entries = entries.entries();
        let look = || {
            let mut on_cpu = self.on_cpu(cpu)?;
            let words = entries.iter().map(|&entry| Ok(on_cpu.lookup(entry)?.raw()));
            words.collect::<Result<Vec<u64>>>()
        };
        let words = if entries.len() >= DETACH_SLOTS { py.detach(look)? } else { look()? };
        column_of_words(py, &words)
    }

    #[doc = stub!(Swap.swap_count)]
    #[pyo3(signature = (entry, *, cpu = None))]
    fn swap_count(&self, entry: EntryArg<'_>, cpu: Option<Cpu>) -> Result<u32> {
        Ok(self.on_cpu(cpu)?.swap_count(entry.entry())?)
    }

    #[doc = stub!(Swap.zero_batch)]
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn zero_batch(&self, entry: EntryArg<'_>, nr: Option<NrSlots>, cpu: Option<Cpu>) -> Result<(bool, u32)> {
        Ok(self.on_cpu(cpu)?.zero_batch(entry.entry(), entry.nr_pages(nr))?)
    }

    #[doc = stub!(Swap.record_events)]
    fn record_events(&self, capacity: NrRecords) -> Result<()> {
        Ok(self.swap.record_events(capacity.0)?)
    }

    #[doc = stub!(Swap.take_events)]
    fn take_events<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let (records, nr_lost) = py.detach(|| self.swap.take_events());
        events_dict(py, &records, nr_lost)
    }

    #[doc = stub!(Swap.stats)]
    fn stats<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Ok(self.swap.stats().into_py_dict(py)?)
    }

    #[doc = stub!(Swap.memory)]
    fn memory<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        all_memory_dict(py, &self.swap)
    }

    #[doc = stub!(Swap.dump)]
    fn dump<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let dump = PyDict::new(py);
        let devices: Result<Vec<_>> = self.swap.dump_devices().iter().map(|device| device_dict(py, device)).collect();
        dump.set_item("devices", devices?)?;
        for (name, hints) in [("hints", self.swap.dump_hints()), ("virtual_hints", self.swap.dump_virtual_hints())] {
            dump.set_item(name, hints_list(py, &hints)?)?;
        }
        dump.set_item("avail", self.swap.dump_avail().iter().map(|ty| ty.0 as u32).collect::<Vec<_>>())?;
        Ok(dump)
    }
}
