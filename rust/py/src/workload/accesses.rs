//! `Accesses`: a record of the pages that a program touches, in the order of the touches. A replay repeats the
//! touches in an address space.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::readahead::Vpn;
use swapcore::workload::replay::AccessReplay;

use crate::border::buffer::native;
use crate::border::calls::watched;
use crate::border::errors::Result;
use crate::border::number::{self, Cpu, PageNumber, Stop};
use crate::border::signals::Progress;
use crate::mm::Mm;

#[doc = stub!(Accesses)]
#[pyclass(frozen, module = "swapcore")]
pub(crate) struct Accesses(swapcore::workload::replay::Accesses);

getters! {
    Accesses(accesses):
    nr_accesses: usize = accesses.0.nr_accesses();
    nr_writes: u64 = accesses.0.nr_writes();
    nr_pages: u64 = accesses.0.nr_pages();
    span_pages: u64 = accesses.0.span_pages();
}

#[pymethods]
impl Accesses {
    #[new]
    fn new(py: Python<'_>, page: PyBuffer<u32>, write: PyBuffer<u8>) -> Result<Self> {
        let (pages, writes) = (native(&page)?.to_vec(py)?, write.to_vec(py)?);
        Ok(Self(py.detach(|| swapcore::workload::replay::Accesses::new(pages, writes))?))
    }

    #[doc = stub!(Accesses.replay)]
    #[pyo3(signature = (mm, first_page, start = 0, stop = None, *, zero_percent = 10.0, random_percent = 10.0,
        is_verified = true, seed = 1, cpu = None, progress = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn replay<'py>(
        &self,
        py: Python<'py>,
        mm: &Bound<'py, Mm>,
        first_page: PageNumber,
        #[pyo3(from_py_with = number::start)] start: usize,
        stop: Option<Stop>,
        zero_percent: f64,
        random_percent: f64,
        is_verified: bool,
        #[pyo3(from_py_with = number::seed)] seed: u64,
        cpu: Option<Cpu>,
        progress: Option<Py<PyAny>>,
    ) -> Result<Bound<'py, PyDict>> {
        let mm = mm.get();
        let range = start..stop.map_or(self.0.nr_accesses(), |stop| stop.0);
        let (first, cpu) = (Vpn(first_page.0), mm.cpu(cpu)?);
        let how = AccessReplay { first, range, cpu, zero_percent, random_percent, is_verified, seed };
        let mut progress = Progress::new(progress);
        let outcome = py.detach(|| watched(|| self.0.replay(&mm.mm, &how, |nr_accesses| progress.tick(nr_accesses))));
        let report = progress.result(outcome)?;
        let dict = PyDict::new(py);
        set_fields!(dict, report: accesses writes first_touches verified_pages cpu_ns is_oom);
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        format!("<Accesses: {} to {} pages>", self.nr_accesses(), self.nr_pages())
    }
}
