//! `MemCgroup`: one memory cgroup, its files and its counters.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBool, PyDict, PyInt, PyString};
use rustix::io::Errno;
use swapcore::base::limits::MAX_SWAPFILES;
use swapcore::base::types::CssId;
use swapcore::cgroupfs::{FileValue, GroupFile};
use swapcore::memcg::{DeadSwapin, GroupPolicy, RefaultRule};
use swapcore::{CpuId, GroupHandle, SwapError, SwpType};

use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number::Cpu;

#[doc = stub!(MemCgroup)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct MemCgroup {
    handle: GroupHandle,
}

impl MemCgroup {
    /// Returns the Python object of a group, or `None` when memcg is disabled or the group is freed.
    pub(crate) fn of(swap: &Arc<swapcore::Swap>, css: CssId) -> Option<Self> {
        Some(Self { handle: GroupHandle::get(swap, css)? })
    }

    /// Returns the Python object of the root group. Errors: EINVAL when memcg is disabled.
    pub(crate) fn root(swap: &Arc<swapcore::Swap>) -> Result<Self> {
        Ok(Self { handle: GroupHandle::root(swap)? })
    }

    /// Returns the number of the group that the argument `memcg` names. If the caller passed no group, the result is
    /// the number of root. Errors: EINVAL when the group belongs to another subsystem.
    pub(crate) fn css_of(memcg: Option<&Bound<'_, Self>>, swap: &Arc<swapcore::Swap>) -> Result<CssId> {
        let Some(memcg) = memcg else { return Ok(CssId::ROOT) };
        let handle = &memcg.get().handle;
        if !Arc::ptr_eq(handle.swap(), swap) {
            return Err(SwapError::ForeignGroup(handle.groups().path(handle.css())).into());
        }
        Ok(handle.css())
    }

    /// Returns the number of the group if the group is online and belongs to `swap`. Errors: EINVAL when the group
    /// belongs to another subsystem; ENODEV when the group was removed.
    pub(crate) fn online_css(&self, swap: &Arc<swapcore::Swap>) -> Result<CssId> {
        if !Arc::ptr_eq(self.handle.swap(), swap) {
            return Err(SwapError::ForeignGroup(self.handle.groups().path(self.handle.css())).into());
        }
        self.handle.require_online()?;
        Ok(self.handle.css())
    }

    /// Returns whether the object is of the group with the number `css` of a subsystem.
    pub(crate) fn is_group(&self, swap: &Arc<swapcore::Swap>, css: CssId) -> bool {
        Arc::ptr_eq(self.handle.swap(), swap) && self.handle.css() == css
    }

    /// Returns the name of the file for a Python attribute. For example, the file of `memory_max` is `memory.max`.
    /// Errors: the exception that `missing` returns, when the group has no such file.
    fn file_of(&self, attribute: &str, missing: impl FnOnce() -> PyErr) -> Result<&'static str> {
        let file = self.handle.swap().memcg_file_of(self.handle.css(), attribute)?;
        Ok(file.ok_or_else(missing)?)
    }

    /// Reads the file for a Python attribute and returns the value of the file. Errors: AttributeError when the group
    /// has no such file, or when the file is write-only, because `hasattr` and completion expect this error.
    fn attribute<'py>(&self, py: Python<'py>, attribute: &str) -> Result<Bound<'py, PyAny>> {
        let missing = || PyAttributeError::new_err(format!("the group has no attribute or file {attribute:?}"));
        let file = self.file_of(attribute, missing)?;
        let text = self.handle.swap().memcg_read(self.handle.css(), file);
        let text = text.map_err(|error| PyAttributeError::new_err(error.to_string()))?;
        Ok(python_value(py, FileValue::of(&text))?)
    }

    fn write_text(&self, py: Python<'_>, file: &str, text: &str, nonblock: bool, cpu: Option<Cpu>) -> Result<()> {
        let (swap, css) = (self.handle.swap(), self.handle.css());
        let cpu: CpuId = convert::cpu(cpu, swap.nr_cpus())?;
        detached(py, || swap.memcg_write(css, file, text, nonblock, cpu))
    }
}

#[doc = stub!(MemcgFile)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct MemcgFile {
    name: &'static str,
    /// The path of the group.
    path: String,
    /// `None` after `close`. A read or write that another thread has started before `close` keeps the file open until
    /// the read or write ends.
    open: Mutex<Option<Arc<GroupFile>>>,
}

impl MemcgFile {
    /// Returns the open file. Errors: EBADF when the file is closed.
    fn opened(&self) -> Result<Arc<GroupFile>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let closed =
            || SwapError::Cgroup { errno: Errno::BADF, what: format!("{} of {:?} is closed", self.name, self.path) };
        Ok(open.ok_or_else(closed)?)
    }
}

getters! {
    MemcgFile(file):
    name: &'static str = file.name;
    closed: bool = file.opened().is_err();
}

#[pymethods]
impl MemcgFile {
    #[doc = stub!(MemcgFile.read)]
    fn read(&self) -> Result<String> {
        Ok(self.opened()?.read()?)
    }

    #[doc = stub!(MemcgFile.write)]
    #[pyo3(signature = (value, *, nonblock = false, cpu = None))]
    fn write(&self, py: Python<'_>, value: &Bound<'_, PyAny>, nonblock: bool, cpu: Option<Cpu>) -> Result<()> {
        let (file, text) = (self.opened()?, text_of(value)?);
        let cpu: CpuId = convert::cpu(cpu, file.swap().nr_cpus())?;
        detached(py, || file.write(&text, nonblock, cpu))
    }

    #[doc = stub!(MemcgFile.close)]
    fn close(&self) {
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>, _traceback: &Bound<'_, PyAny>) {
        self.close();
    }

    fn __repr__(&self) -> String {
        let state = if self.closed() { ", closed" } else { "" };
        format!("<MemcgFile {} of {}{state}>", self.name, self.path)
    }
}

/// Returns the text to write into a file: a str as it is, an int in decimal digits.
fn text_of(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if value.is_instance_of::<PyString>() {
        return value.extract();
    }
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        return Ok(value.call_method0("__index__")?.str()?.to_string());
    }
    let kind = value.get_type().name()?;
    Err(PyTypeError::new_err(format!("a file takes a str or an int, not {kind}")))
}

/// Returns the text to write into the file of an attribute or keyword, as [`text_of`]. A size that the kernel's files
/// do not know, such as `1.5G`, `1GiB` or `1 G`, becomes its number of bytes, because attributes accept each size that
/// the Python package accepts. Options behind the size, as in `1.5G swappiness=60`, stay.
fn amount_of(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = text_of(value)?;
    let before_options = |at: usize| text[..at].rfind(char::is_whitespace).unwrap_or(0);
    let (size, options) = text.split_at(text.find('=').map_or(text.len(), before_options));
    let size = size.trim();
    let is_foreign = size.contains(|letter: char| letter == '.' || letter.is_whitespace())
        || size.to_ascii_lowercase().ends_with("ib");
    if !is_foreign || !size.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Ok(text);
    }
    let bytes = value.py().import("swapcore.size")?.getattr("parse_limit")?.call1((size,))?.str()?;
    Ok(format!("{bytes}{options}"))
}

/// Converts the value of a file to a Python value. A number becomes an int. Lines with a key and a value become a
/// dict. Any other text becomes a str.
fn python_value(py: Python<'_>, value: FileValue) -> PyResult<Bound<'_, PyAny>> {
    match value {
        FileValue::Number(number) => Ok(number.into_pyobject(py)?.into_any()),
        FileValue::Text(text) => Ok(PyString::new(py, &text).into_any()),
        FileValue::Lines(lines) => {
            let values = lines.into_iter().map(|(key, value)| Ok((key, python_value(py, value)?)));
            Ok(values.collect::<PyResult<Vec<_>>>()?.into_py_dict(py)?.into_any())
        }
    }
}

getters! {
    MemCgroup(group):
    name: String = group.handle.groups().name(group.handle.css());
    path: String = group.handle.groups().path(group.handle.css());
    parent: Option<Self> = group.handle.parent().map(|handle| Self { handle });
    children: Vec<Self> = group.handle.children().into_iter().map(|handle| Self { handle }).collect();
    dying_children: Vec<Self> = group.handle.dying_children().into_iter().map(|handle| Self { handle }).collect();
    is_online: bool = group.handle.group().is_online();
    files: Result<Vec<&'static str>> = Ok(group.handle.swap().memcg_files(group.handle.css())?);
}

#[pymethods]
impl MemCgroup {
    #[doc = stub!(MemCgroup.create)]
    #[pyo3(signature = (name, **files))]
    fn create(&self, py: Python<'_>, name: &str, files: Option<&Bound<'_, PyDict>>) -> Result<Self> {
        let made = Self { handle: self.handle.create(name)? };
        let fill = || {
            for (keyword, value) in files.into_iter().flatten() {
                let keyword: String = keyword.extract()?;
                let file = made.handle.swap().memcg_file_of_keyword(made.handle.css(), &keyword)?;
                let unknown = || PyTypeError::new_err(format!("create() got {keyword:?}, which no file is named like"));
                made.write_text(py, file.ok_or_else(unknown)?, &amount_of(&value)?, false, None)?;
            }
            Ok(())
        };
        match fill() {
            Ok(()) => Ok(made),
            Err(error) => {
                made.handle.remove()?;
                Err(error)
            }
        }
    }

    #[doc = stub!(MemCgroup.remove)]
    fn remove(&self, py: Python<'_>) -> Result<()> {
        // The removal runs detached from the interpreter, because the removal may sleep for the lock of a folio, and
        // the thread that holds the lock may need the interpreter.
        detached(py, || self.handle.remove())
    }

    #[doc = stub!(MemCgroup.read)]
    fn read(&self, file: &str) -> Result<String> {
        Ok(self.handle.swap().memcg_read(self.handle.css(), file)?)
    }

    #[doc = stub!(MemCgroup.write)]
    #[pyo3(signature = (file, value, *, nonblock = false, cpu = None))]
    fn write(
        &self,
        py: Python<'_>,
        file: &str,
        value: &Bound<'_, PyAny>,
        nonblock: bool,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        self.write_text(py, file, &text_of(value)?, nonblock, cpu)
    }

    #[doc = stub!(MemCgroup.open)]
    fn open(&self, file: &str) -> Result<MemcgFile> {
        let file = GroupFile::open(self.handle.swap(), self.handle.css(), file)?;
        Ok(MemcgFile { name: file.name(), path: self.path(), open: Mutex::new(Some(Arc::new(file))) })
    }

    #[doc = stub!(MemCgroup.counters)]
    fn counters<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Ok(self.handle.swap().memcg_counters(self.handle.css())?.into_py_dict(py)?)
    }

    #[doc = stub!(MemCgroup.stat_local)]
    fn stat_local<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Ok(self.handle.swap().memcg_stat_local(self.handle.css())?.into_py_dict(py)?)
    }

    #[doc = stub!(MemCgroup.set_policy)]
    #[pyo3(signature = (*, allow_swap = true, dead_owner = None, devices = None, refault = None))]
    fn set_policy(
        &self,
        allow_swap: bool,
        dead_owner: Option<&str>,
        devices: Option<Vec<i64>>,
        refault: Option<&str>,
    ) -> Result<()> {
        let refault = refault.map(RefaultRule::from_name).transpose()?;
        let dead_owner = dead_owner.map(DeadSwapin::from_name).transpose()?;
        let high = MAX_SWAPFILES as u64 - 1;
        let bad = |value: i64| SwapError::OutOfRange { what: "swap type", value: value.into(), low: 0, high };
        let ty =
            |&ty: &i64| u8::try_from(ty).ok().filter(|&ty| u64::from(ty) <= high).map(SwpType).ok_or_else(|| bad(ty));
        let devices =
            devices.map(|devices| devices.iter().map(ty).collect::<swapcore::Result<Vec<_>>>()).transpose()?;
        Ok(self.handle.set_policy(GroupPolicy { may_swap: allow_swap, dead_owner, devices, refault })?)
    }

    /// Returns the names of the class, with the files that the group has in place of the files of v1 and v2.
    fn __dir__(slf: &Bound<'_, Self>) -> Result<Vec<String>> {
        let handle = &slf.get().handle;
        let own: Vec<String> = handle.swap().memcg_files(handle.css())?.iter().map(|file| attribute_of(file)).collect();
        let mut names: Vec<String> = slf.get_type().dir()?.extract()?;
        names.retain(|name| !FILE_PROPERTIES.contains(&name.as_str()));
        names.extend(own);
        names.sort();
        Ok(names)
    }

    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> Result<Bound<'py, PyAny>> {
        self.attribute(py, name)
    }

    fn __setattr__(&self, py: Python<'_>, name: &str, value: &Bound<'_, PyAny>) -> Result<()> {
        let missing = || PyAttributeError::new_err(format!("the group has no file {name:?} to set"));
        let file = self.file_of(name, missing)?;
        self.write_text(py, file, &amount_of(value)?, false, None)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.is_group(other.handle.swap(), other.handle.css())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (Arc::as_ptr(self.handle.swap()).addr(), self.handle.css()).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let group = self.handle.group();
        let (memory, swap) = (group.memory.usage_pages(), group.swap.usage_pages());
        let state = if group.is_online() { "" } else { ", removed" };
        let what = if self.handle.groups().do_memsw_account() { "memory and swap" } else { "swap" };
        format!("<MemCgroup {}: {memory} pages of memory, {swap} of {what}{state}>", self.path())
    }
}

/// Returns the name of the attribute of a file.
fn attribute_of(file: &str) -> String {
    file.replace('.', "_")
}

/// Defines a read-only property for each file that can be read. The properties have no setters. `__setattr__` writes
/// files instead, because a write to a file that the group lacks must raise another error than a read of this file.
macro_rules! file_properties {
    ($($name:ident)+) => {
        /// The names of the properties of files, on v1 and on v2.
        const FILE_PROPERTIES: &[&str] = &[$(stringify!($name)),+];

        #[pymethods]
        impl MemCgroup {
            $(
                #[doc = stub!(MemCgroup.$name)]
                #[getter]
                fn $name<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
                    self.attribute(py, stringify!($name))
                }
            )+
        }
    };
}

file_properties! {
    memory_current memory_peak memory_min memory_low memory_high memory_max
    memory_events memory_events_local memory_oom_group memory_stat
    memory_swap_current memory_swap_peak memory_swap_high memory_swap_max memory_swap_events
    memory_zswap_current memory_zswap_max memory_zswap_writeback
    memory_usage_in_bytes memory_limit_in_bytes memory_max_usage_in_bytes memory_failcnt
    memory_memsw_usage_in_bytes memory_memsw_limit_in_bytes memory_memsw_max_usage_in_bytes memory_memsw_failcnt
    memory_swappiness memory_oom_control memory_use_hierarchy memory_move_charge_at_immigrate
}
