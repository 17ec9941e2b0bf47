//! `Accesses`: which pages a program touches, replayed in an address space.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::readahead::Vpn;
use swapcore::workload::replay::AccessReplay;

use crate::border::buffer::native;
use crate::border::calls::watched;
use crate::border::errors::Result;
use crate::border::number;
use crate::border::signals::Progress;
use crate::mm::Mm;

#[doc = stub!(Accesses)]
#[pyclass(frozen, module = "swapcore")]
pub(crate) struct Accesses(swapcore::workload::replay::Accesses);

#[pymethods]
impl Accesses {
    #[new]
    fn new(py: Python<'_>, page: PyBuffer<u32>, write: PyBuffer<u8>) -> Result<Self> {
        let (pages, writes) = (native(&page)?.to_vec(py)?, write.to_vec(py)?);
        Ok(Self(py.detach(|| swapcore::workload::replay::Accesses::new(pages, writes))?))
    }

    #[doc = stub!(Accesses.nr_accesses)]
    #[getter]
    fn nr_accesses(&self) -> usize {
        self.0.nr_accesses()
    }

    #[doc = stub!(Accesses.nr_writes)]
    #[getter]
    fn nr_writes(&self) -> u64 {
        self.0.nr_writes()
    }

    #[doc = stub!(Accesses.nr_pages)]
    #[getter]
    fn nr_pages(&self) -> u64 {
        self.0.nr_pages()
    }

    #[doc = stub!(Accesses.span_pages)]
    #[getter]
    fn span_pages(&self) -> u64 {
        self.0.span_pages()
    }

    #[doc = stub!(Accesses.replay)]
    #[pyo3(signature = (mm, first_page, start = 0, stop = None, *, zero_percent = 10.0, random_percent = 10.0,
        is_verified = true, seed = 1, cpu = None, progress = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn replay<'py>(
        &self,
        py: Python<'py>,
        mm: &Bound<'py, Mm>,
        #[pyo3(from_py_with = number::page_number)] first_page: u64,
        #[pyo3(from_py_with = number::access)] start: usize,
        #[pyo3(from_py_with = number::access_or_none)] stop: Option<usize>,
        zero_percent: f64,
        random_percent: f64,
        is_verified: bool,
        #[pyo3(from_py_with = number::seed)] seed: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> Result<Bound<'py, PyDict>> {
        let mm = mm.get();
        let range = start..stop.unwrap_or(self.0.nr_accesses());
        let (first, cpu) = (Vpn(first_page), mm.cpu(cpu)?);
        let how = AccessReplay { first, range, cpu, zero_percent, random_percent, is_verified, seed };
        let mut progress = Progress::new(progress);
        let outcome = py.detach(|| watched(|| self.0.replay(&mm.mm, &how, |nr_accesses| progress.tick(nr_accesses))));
        let report = progress.result(outcome)?;
        let dict = PyDict::new(py);
        dict.set_item("accesses", report.accesses)?;
        dict.set_item("writes", report.writes)?;
        dict.set_item("first_touches", report.first_touches)?;
        dict.set_item("verified_pages", report.verified_pages)?;
        dict.set_item("cpu_ns", report.cpu_ns)?;
        dict.set_item("is_oom", report.is_oom)?;
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        format!("<Accesses: {} to {} pages>", self.nr_accesses(), self.nr_pages())
    }
}
