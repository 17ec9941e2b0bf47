//! `Trace`: a recorded workload. A replay runs the trace through a strategy, which is a slot allocator, or swaps
//! folios with data out and in.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use swapcore::workload::replay::{Columns, FolioReplay, FolioReport, Report};

use crate::border::buffer::native;
use crate::border::calls::watched;
use crate::border::errors::Result;
use crate::border::number;
use crate::border::signals::Progress;
use crate::swap::Swap;
use crate::workload::strategy::Strategy;

#[doc = stub!(Trace)]
#[pyclass(frozen, module = "swapcore")]
pub(crate) struct Trace(swapcore::workload::replay::Trace);

getters! {
    Trace(trace):
    nr_ops: usize = trace.0.nr_ops();
    nr_allocations: u64 = trace.0.nr_allocations();
    nr_cpus: usize = trace.0.nr_cpus();
    peak_pages: u64 = trace.0.peak_pages();
}

#[pymethods]
impl Trace {
    #[new]
    fn new(
        py: Python<'_>,
        op: PyBuffer<u8>,
        cpu: PyBuffer<u8>,
        folio: PyBuffer<u32>,
        first: PyBuffer<u16>,
        nr: PyBuffer<u16>,
    ) -> Result<Self> {
        let (op, cpu, folio) = (op.to_vec(py)?, cpu.to_vec(py)?, native(&folio)?.to_vec(py)?);
        let (first, nr) = (native(&first)?.to_vec(py)?, native(&nr)?.to_vec(py)?);
        let columns = Columns { op: &op, cpu: &cpu, folio: &folio, first: &first, nr: &nr };
        Ok(Self(py.detach(|| swapcore::workload::replay::Trace::new(columns))?))
    }

    #[doc = stub!(Trace.allocations_by_order)]
    #[getter]
    fn allocations_by_order<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        by_order(py, self.0.allocations_by_order())
    }

    #[doc = stub!(Trace.replay)]
    #[pyo3(signature = (strategy, *, samples = 0))]
    fn replay<'py>(
        &self,
        py: Python<'py>,
        strategy: &Bound<'py, Strategy>,
        #[pyo3(from_py_with = number::samples)] samples: usize,
    ) -> Result<Bound<'py, PyDict>> {
        report_dict(py, &strategy.get().drive(py, |strategy| self.0.replay(strategy, samples))?)
    }

    #[doc = stub!(Trace.replay_folios)]
    #[pyo3(signature = (swap, *, zero_percent = 10.0, random_percent = 10.0, read_percent = 100.0, is_verified = true,
        seed = 1, progress = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn replay_folios<'py>(
        &self,
        py: Python<'py>,
        swap: &Bound<'py, Swap>,
        zero_percent: f64,
        random_percent: f64,
        read_percent: f64,
        is_verified: bool,
        #[pyo3(from_py_with = number::seed)] seed: u64,
        progress: Option<Py<PyAny>>,
    ) -> Result<Bound<'py, PyDict>> {
        let how = FolioReplay { zero_percent, random_percent, read_percent, is_verified, seed };
        let swap = &swap.get().swap;
        let mut progress = Progress::new(progress);
        let outcome = py.detach(|| watched(|| self.0.replay_folios(swap, &how, |nr_ops| progress.tick(nr_ops))));
        folio_report_dict(py, &progress.result(outcome)?)
    }

    #[doc = stub!(Trace.floor)]
    fn floor(&self, py: Python<'_>) -> Result<u64> {
        Ok(py.detach(|| self.0.floor())?)
    }

    fn __repr__(&self) -> String {
        format!("<Trace of {} operations, {} pages at its peak>", self.nr_ops(), self.peak_pages())
    }
}

/// Returns a dict from order to count. Orders with a count of 0 are left out.
fn by_order<'py>(py: Python<'py>, counts: &[u64]) -> Result<Bound<'py, PyDict>> {
    Ok(counts.iter().enumerate().filter(|&(_, &count)| count > 0).into_py_dict(py)?)
}

fn report_dict<'py>(py: Python<'py>, report: &Report) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    set_fields!(dict, report: ops allocations cpu_ns);
    dict.set_item("failures", by_order(py, &report.failures)?)?;
    set_fields!(dict, report: fallback_pages dropped_pages large_pages used_slots_peak used_slots_end);
    let memory = report.memory_at_peak;
    dict.set_item("bytes_at_peak", memory.static_bytes + memory.dynamic_bytes)?;
    set_fields!(dict, memory: static_bytes);
    set_fields!(dict, report: fragmentation);
    Ok(dict)
}

fn folio_report_dict<'py>(py: Python<'py>, report: &FolioReport) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    set_fields!(dict, report: ops swapped_out_pages swapped_in_pages dropped_pages refused_pages unread_pages);
    set_fields!(dict, report: fallback_pages swap_in_folios swap_out_ns swap_in_ns peak_pages end_pages);
    dict.set_item("peak_stats", (&report.peak_stats).into_py_dict(py)?)?;
    dict.set_item("peak_zswap", (&report.peak_zswap).into_py_dict(py)?)?;
    Ok(dict)
}
