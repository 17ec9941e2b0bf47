//! `Storage`: the Python class for a storage. A storage keeps the page data of a device.

pub(crate) mod argument;
pub(crate) mod header;

use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use swapcore::SwapError;
use swapcore::storage::header::SwapHeader;
use swapcore::storage::spec::{GhostSpec, Visibility};
use swapcore::storage::{
    Algorithm, FaultPlan, Faulty, File, FileOptions, Ghost, Ram, StorageTraits, SwapStorage, Zram, ZramOptions,
};

use crate::border::errors::Result;
use crate::border::number::{self, FailingCall, MemLimitBytes, NrBytes, RamPages, SizePages, TornPages};

#[doc = stub!(Storage)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) storage: Arc<dyn SwapStorage>,
}

impl Storage {
    pub(crate) fn new(storage: Arc<dyn SwapStorage>) -> Self {
        Self { storage }
    }

    /// Returns this storage if it has the type `T`, and otherwise the storage of type `T` that it wraps. Errors:
    /// `UnknownName` (EINVAL).
    fn find<T: SwapStorage>(&self, what: &'static str, known: &str) -> Result<&T> {
        let no_such = || SwapError::UnknownName { what, name: self.storage.kind().into(), known: known.into() };
        Ok(self.storage.find_storage().ok_or_else(no_such)?)
    }

    fn swap_file(&self) -> Result<&File> {
        self.find("storage with a swap header", "file")
    }

    fn zram_device(&self) -> Result<&Zram> {
        self.find("storage with compressed pages", "zram")
    }
}

getters! {
    Storage(this):
    kind: &'static str = this.storage.kind();
    pages: u32 = this.storage.spec().max_pages;
    bad_pages: Vec<u32> = this.storage.spec().bad_pages;
    is_rotational: bool = this.storage.spec().is_rotational;
    is_block_device: bool = this.storage.spec().is_block_device;
    is_virtual: bool = this.storage.spec().ghost.is_some_and(|ghost| ghost.has_virtual_table);
    is_discardable: bool = this.storage.spec().can_discard;
    label: Result<String> = Ok(this.swap_file()?.header().label);
    uuid: Result<[u8; 16]> = Ok(this.swap_file()?.header().uuid);
    mem_limit_bytes: Result<u64> = Ok(this.zram_device()?.mem_limit_bytes());
    is_synchronous: bool = this.storage.traits().contains(StorageTraits::SYNCHRONOUS_IO);
}

#[pymethods]
impl Storage {
    #[doc = stub!(Storage.ram)]
    #[staticmethod]
    fn ram(pages: SizePages) -> Result<Self> {
        Ok(Self::new(Arc::new(Ram::new(pages.0)?)))
    }

    #[doc = stub!(Storage.zram)]
    #[staticmethod]
    #[pyo3(signature = (pages, *, algorithm = "lz4", level = None, mem_limit_bytes = None))]
    fn zram(pages: SizePages, algorithm: &str, level: Option<i32>, mem_limit_bytes: Option<NrBytes>) -> Result<Self> {
        let algorithm = Algorithm::from_name(algorithm, level)?;
        let options = ZramOptions { algorithm, mem_limit_bytes: mem_limit_bytes.map(|nr| nr.0) };
        Ok(Self::new(Arc::new(Zram::new(pages.0, &options)?)))
    }

    #[doc = stub!(Storage.file)]
    #[staticmethod]
    #[pyo3(signature = (path, *, direct = false, is_block_device = None, is_rotational = None, fixpgsz = false))]
    fn file(
        path: &str,
        direct: bool,
        is_block_device: Option<bool>,
        is_rotational: Option<bool>,
        fixpgsz: bool,
    ) -> Result<Self> {
        let options = FileOptions { direct, is_block_device, is_rotational, fixpgsz };
        Ok(Self::new(Arc::new(File::open(Path::new(path), &options)?)))
    }

    #[doc = stub!(Storage.create_file)]
    #[staticmethod]
    #[pyo3(signature = (path, pages, *, label = "", uuid, bad_pages = None, sparse = false))]
    fn create_file(
        path: &str,
        pages: SizePages,
        label: &str,
        uuid: [u8; 16],
        bad_pages: Option<&Bound<'_, PyAny>>,
        sparse: bool,
    ) -> Result<()> {
        let bad_pages = bad_pages.map_or(Ok(Vec::new()), number::bad_pages)?;
        let header = SwapHeader { last_page: pages.0 - 1, bad_pages, uuid, label: label.into() };
        Ok(File::create(Path::new(path), &header, sparse)?)
    }

    #[doc = stub!(Storage.swaplabel)]
    #[pyo3(signature = (*, label = None, uuid = None))]
    fn swaplabel(&self, py: Python<'_>, label: Option<&str>, uuid: Option<[u8; 16]>) -> Result<()> {
        let file = self.swap_file()?;
        Ok(py.detach(|| file.swaplabel(label, uuid))?)
    }

    #[setter]
    fn set_mem_limit_bytes(&self, mem_limit_bytes: MemLimitBytes) -> Result<()> {
        self.zram_device()?.set_mem_limit_bytes(mem_limit_bytes.0);
        Ok(())
    }

    #[doc = stub!(Storage.reset_mem_used_max)]
    fn reset_mem_used_max(&self) -> Result<()> {
        self.zram_device()?.reset_mem_used_max();
        Ok(())
    }

    #[doc = stub!(Storage.reset)]
    fn reset(&self, py: Python<'_>) -> Result<()> {
        let zram = self.zram_device()?;
        Ok(py.detach(|| zram.reset_zram())?)
    }

    #[doc = stub!(Storage.faulty)]
    #[staticmethod]
    #[pyo3(signature = (inner, *, seed = 0))]
    fn faulty(inner: &Bound<'_, Self>, #[pyo3(from_py_with = number::seed)] seed: u64) -> Self {
        Self::new(Arc::new(Faulty::new(inner.get().storage.clone(), seed)))
    }

    #[doc = stub!(Storage.ghost)]
    #[staticmethod]
    #[pyo3(signature = (pages, *, is_virtual = false, visibility = "visible"))]
    fn ghost(pages: SizePages, is_virtual: bool, visibility: &str) -> Result<Self> {
        Ok(Self::new(Arc::new(Ghost::new(pages.0, ghost_spec(is_virtual, visibility)?)?)))
    }

    #[doc = stub!(Storage.ghost_for_ram)]
    #[staticmethod]
    #[pyo3(signature = (ram_pages, *, is_virtual = false, visibility = "visible"))]
    fn ghost_for_ram(ram_pages: RamPages, is_virtual: bool, visibility: &str) -> Result<Self> {
        Ok(Self::new(Arc::new(Ghost::for_ram(ram_pages.0, ghost_spec(is_virtual, visibility)?)?)))
    }

    #[doc = stub!(Storage.ghost_open)]
    #[staticmethod]
    #[pyo3(signature = (path, *, is_virtual = false, visibility = "visible"))]
    fn ghost_open(path: &str, is_virtual: bool, visibility: &str) -> Result<Self> {
        Ok(Self::new(Arc::new(Ghost::open(Path::new(path), ghost_spec(is_virtual, visibility)?)?)))
    }

    #[doc = stub!(Storage.set_faults)]
    #[pyo3(signature = (*, fail_write_in = None, fail_read_in = None, write_error_probability = 0.0,
        read_error_probability = 0.0, errno = 5, tear_write_pages = None, delay_ns = 0))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn set_faults(
        &self,
        fail_write_in: Option<FailingCall>,
        fail_read_in: Option<FailingCall>,
        write_error_probability: f64,
        read_error_probability: f64,
        #[pyo3(from_py_with = number::errno)] errno: i32,
        tear_write_pages: Option<TornPages>,
        #[pyo3(from_py_with = number::delay_ns)] delay_ns: u64,
    ) -> Result<()> {
        Ok(self.storage.plan_faults(FaultPlan {
            fail_write_in: fail_write_in.map(|call| call.0),
            fail_read_in: fail_read_in.map(|call| call.0),
            write_error_probability,
            read_error_probability,
            errno,
            tear_write_pages: tear_write_pages.map(|nr| nr.0),
            delay_ns,
        })?)
    }

    #[doc = stub!(Storage.stats)]
    fn stats<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Ok(self.storage.stats().into_py_dict(py)?)
    }

    fn __repr__(&self) -> String {
        format!("<Storage {} of {} pages>", self.kind(), self.pages())
    }
}

fn ghost_spec(has_virtual_table: bool, visibility: &str) -> Result<GhostSpec> {
    Ok(GhostSpec { has_virtual_table, visibility: Visibility::from_name(visibility)? })
}
