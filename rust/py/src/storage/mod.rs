//! `Storage`: where the pages of a device go.

pub(crate) mod argument;
pub(crate) mod header;

use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::SwapError;
use swapcore::storage::header::SwapHeader;
use swapcore::storage::spec::{GhostSpec, Visibility};
use swapcore::storage::{
    Algorithm, FaultPlan, Faulty, File, FileOptions, Ghost, Ram, StorageStats, StorageTraits, SwapStorage, Zram,
    ZramOptions,
};

use crate::border::errors::Result;
use crate::border::number;

#[doc = stub!(Storage)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) storage: Arc<dyn SwapStorage>,
    /// The same, when it has faults to plan.
    faulty: Option<Arc<Faulty>>,
}

impl Storage {
    pub(crate) fn new(storage: Arc<dyn SwapStorage>) -> Self {
        Self { storage, faulty: None }
    }
}

#[pymethods]
impl Storage {
    #[doc = stub!(Storage.ram)]
    #[staticmethod]
    fn ram(#[pyo3(from_py_with = number::size_pages)] pages: u64) -> Result<Self> {
        Ok(Self::new(Arc::new(Ram::new(pages as u32)?)))
    }

    #[doc = stub!(Storage.zram)]
    #[staticmethod]
    #[pyo3(signature = (pages, *, algorithm = "lz4", level = None, mem_limit_bytes = None))]
    fn zram(
        #[pyo3(from_py_with = number::size_pages)] pages: u64,
        algorithm: &str,
        level: Option<i32>,
        #[pyo3(from_py_with = number::bytes_or_none)] mem_limit_bytes: Option<u64>,
    ) -> Result<Self> {
        let algorithm = Algorithm::from_name(algorithm, level)?;
        Ok(Self::new(Arc::new(Zram::new(pages as u32, &ZramOptions { algorithm, mem_limit_bytes })?)))
    }

    #[doc = stub!(Storage.file)]
    #[staticmethod]
    #[pyo3(signature = (path, *, direct = false, is_block_device = None, is_rotational = None))]
    fn file(path: &str, direct: bool, is_block_device: Option<bool>, is_rotational: Option<bool>) -> Result<Self> {
        let options = FileOptions { direct, is_block_device, is_rotational };
        Ok(Self::new(Arc::new(File::open(Path::new(path), &options)?)))
    }

    #[doc = stub!(Storage.create_file)]
    #[staticmethod]
    #[pyo3(signature = (path, pages, *, label = "", uuid, bad_pages = None, sparse = false))]
    fn create_file(
        path: &str,
        #[pyo3(from_py_with = number::size_pages)] pages: u64,
        label: &str,
        uuid: [u8; 16],
        bad_pages: Option<&Bound<'_, PyAny>>,
        sparse: bool,
    ) -> Result<()> {
        let bad_pages = bad_pages.map_or(Ok(Vec::new()), number::bad_pages)?;
        let header = SwapHeader { last_page: pages as u32 - 1, bad_pages, uuid, label: label.into() };
        Ok(File::create(Path::new(path), &header, sparse)?)
    }

    #[doc = stub!(Storage.faulty)]
    #[staticmethod]
    #[pyo3(signature = (inner, *, seed = 0))]
    fn faulty(inner: &Bound<'_, Self>, #[pyo3(from_py_with = number::seed)] seed: u64) -> Self {
        let faulty = Arc::new(Faulty::new(inner.get().storage.clone(), seed));
        Self { storage: faulty.clone(), faulty: Some(faulty) }
    }

    #[doc = stub!(Storage.ghost)]
    #[staticmethod]
    #[pyo3(signature = (pages, *, virtual_table = false, visibility = "visible"))]
    fn ghost(
        #[pyo3(from_py_with = number::size_pages)] pages: u64,
        virtual_table: bool,
        visibility: &str,
    ) -> Result<Self> {
        Ok(Self::new(Arc::new(Ghost::new(pages as u32, ghost_spec(virtual_table, visibility)?)?)))
    }

    #[doc = stub!(Storage.ghost_for_ram)]
    #[staticmethod]
    #[pyo3(signature = (ram_pages, *, virtual_table = false, visibility = "visible"))]
    fn ghost_for_ram(
        #[pyo3(from_py_with = number::ram_pages)] ram_pages: u64,
        virtual_table: bool,
        visibility: &str,
    ) -> Result<Self> {
        Ok(Self::new(Arc::new(Ghost::for_ram(ram_pages, ghost_spec(virtual_table, visibility)?)?)))
    }

    #[doc = stub!(Storage.ghost_open)]
    #[staticmethod]
    #[pyo3(signature = (path, *, virtual_table = false, visibility = "visible"))]
    fn ghost_open(path: &str, virtual_table: bool, visibility: &str) -> Result<Self> {
        Ok(Self::new(Arc::new(Ghost::open(Path::new(path), ghost_spec(virtual_table, visibility)?)?)))
    }

    #[doc = stub!(Storage.set_faults)]
    #[pyo3(signature = (*, fail_write_in = None, fail_read_in = None, write_error_probability = 0.0,
        read_error_probability = 0.0, errno = 5, tear_write_pages = None, delay_ns = 0))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn set_faults(
        &self,
        #[pyo3(from_py_with = number::nth_or_none)] fail_write_in: Option<u64>,
        #[pyo3(from_py_with = number::nth_or_none)] fail_read_in: Option<u64>,
        write_error_probability: f64,
        read_error_probability: f64,
        #[pyo3(from_py_with = number::errno)] errno: i32,
        #[pyo3(from_py_with = number::torn_pages_or_none)] tear_write_pages: Option<u32>,
        #[pyo3(from_py_with = number::delay_ns)] delay_ns: u64,
    ) -> Result<()> {
        let unplanned = || SwapError::UnknownName {
            what: "storage with faults",
            name: self.storage.kind().into(),
            known: "faulty".into(),
        };
        let faulty = self.faulty.as_ref().ok_or_else(unplanned)?;
        Ok(faulty.set_plan(FaultPlan {
            fail_write_in,
            fail_read_in,
            write_error_probability,
            read_error_probability,
            errno,
            tear_write_pages,
            delay_ns,
        })?)
    }

    #[doc = stub!(Storage.kind)]
    #[getter]
    fn kind(&self) -> &'static str {
        if self.faulty.is_some() { "faulty" } else { self.storage.kind() }
    }

    #[doc = stub!(Storage.pages)]
    #[getter]
    fn pages(&self) -> u32 {
        self.storage.spec().max_pages
    }

    #[doc = stub!(Storage.bad_pages)]
    #[getter]
    fn bad_pages(&self) -> Vec<u32> {
        self.storage.spec().bad_pages
    }

    #[doc = stub!(Storage.is_rotational)]
    #[getter]
    fn is_rotational(&self) -> bool {
        self.storage.spec().is_rotational
    }

    #[doc = stub!(Storage.is_block_device)]
    #[getter]
    fn is_block_device(&self) -> bool {
        self.storage.spec().is_block_device
    }

    #[doc = stub!(Storage.has_virtual_table)]
    #[getter]
    fn has_virtual_table(&self) -> bool {
        self.storage.spec().ghost.is_some_and(|ghost| ghost.has_virtual_table)
    }

    #[doc = stub!(Storage.can_discard)]
    #[getter]
    fn can_discard(&self) -> bool {
        self.storage.spec().can_discard
    }

    #[doc = stub!(Storage.is_synchronous)]
    #[getter]
    fn is_synchronous(&self) -> bool {
        self.storage.traits().contains(StorageTraits::SYNCHRONOUS_IO)
    }

    #[doc = stub!(Storage.stats)]
    fn stats<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        stats_dict(py, &self.storage.stats())
    }

    fn __repr__(&self) -> String {
        format!("<Storage {} of {} pages>", self.kind(), self.pages())
    }
}

fn ghost_spec(has_virtual_table: bool, visibility: &str) -> Result<GhostSpec> {
    Ok(GhostSpec { has_virtual_table, visibility: Visibility::from_name(visibility)? })
}

/// Figures as a dict.
pub(crate) fn stats_dict<'py>(py: Python<'py>, stats: &StorageStats) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    stats.iter().try_for_each(|(name, value)| dict.set_item(name, value))?;
    Ok(dict)
}
