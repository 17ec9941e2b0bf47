//! `Strategy`: the Python class for a slot allocator on which recorded workloads are replayed. The allocator is part
//! of the core, or it is a Python object in a wrapper that implements the core's trait `Strategy`.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use swapcore::workload::strategy::StrategyMemory;
use swapcore::{CpuId, Order, SwapError, SwpOffset};

use crate::border::convert;
use crate::border::errors::{Error, Result};
use crate::border::number::{self, Cpu, NrRuns, SizePages, Slot};
use crate::slots::args::EntriesArg;
use crate::slots::batch::SwapBatch;

/// A strategy written in Python. `Wrapped` implements the core's trait `Strategy` by calls of the Python object.
struct Wrapped {
    name: String,
    nr_slots: u32,
    max_order: Order,
    object: Py<PyAny>,
    has_alloc_batch: bool,
    has_free_batch: bool,
    has_memory: bool,
    /// The first exception that a Python method raised. This field keeps the exception, because the methods of the
    /// trait cannot return a Python exception.
    raised: Mutex<Option<PyErr>>,
}

impl Wrapped {
    fn new(object: &Bound<'_, PyAny>, nr_slots: u32, name: Option<String>) -> Result<Self> {
        let name = name.map_or_else(|| object.getattr("name")?.extract(), Ok)?;
        Ok(Self {
            name,
            nr_slots,
            max_order: convert::order(object.getattr("max_order")?.extract()?)?,
            has_alloc_batch: object.hasattr("alloc_batch")?,
            has_free_batch: object.hasattr("free_batch")?,
            has_memory: object.hasattr("memory")?,
            object: object.clone().unbind(),
            raised: Mutex::new(None),
        })
    }

    /// Calls the Python object and stores its exception. After the first exception, every call returns `failed`
    /// without a call of the Python object.
    fn call<T>(&self, failed: T, call: impl FnOnce(Python<'_>) -> PyResult<T>) -> T {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
        let result = match raised {
            None => Python::attach(call).map_err(|error| raised = Some(error)).unwrap_or(failed),
            Some(_) => failed,
        };
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = raised;
        result
    }

    fn take_raised(&self) -> Option<PyErr> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl swapcore::workload::strategy::Strategy for Wrapped {
    fn name(&self) -> &str {
        &self.name
    }

    fn nr_slots(&self) -> u32 {
        self.nr_slots
    }

    fn max_order(&self) -> Order {
        self.max_order
    }

    fn alloc(&self, order: Order, cpu: CpuId) -> Option<SwpOffset> {
        let slot: i64 = self.call(-1, |py| {
            let slot = self.object.bind(py).call_method1(pyo3::intern!(py, "alloc"), (order.get(), cpu.0))?;
            let name = &self.name;
            let value = slot.extract().map_err(|_| {
                PyTypeError::new_err(format!("strategy {name}: alloc returned {slot}, which is no slot number"))
            })?;
            if value < -1 || value > i64::from(u32::MAX) {
                let why = format!("strategy {name}: alloc returned {value}, which is neither a slot number nor -1");
                return Err(PyValueError::new_err(why));
            }
            Ok(value)
        });
        u32::try_from(slot).ok().map(SwpOffset)
    }

    fn free(&self, first: SwpOffset, nr_pages: u32, cpu: CpuId) -> swapcore::Result<()> {
        self.call((), |py| {
            self.object.bind(py).call_method1(pyo3::intern!(py, "free"), (first.0, nr_pages, cpu.0)).map(|_| ())
        });
        Ok(())
    }

    fn alloc_batch(&self, order: Order, cpu: CpuId, out: &mut [SwpOffset]) -> usize {
        if !self.has_alloc_batch {
            let served = out.iter_mut().map_while(|slot| self.alloc(order, cpu).map(|first| *slot = first));
            return served.count();
        }
        let firsts: Vec<u32> = self.call(Vec::new(), |py| {
            let args = (out.len(), order.get(), cpu.0);
            let firsts = self.object.bind(py).call_method1(pyo3::intern!(py, "alloc_batch"), args)?;
            let firsts: Vec<u32> = firsts.try_iter()?.map(|first| first?.extract()).collect::<PyResult<_>>()?;
            if firsts.len() > out.len() {
                let (name, nr, nr_max) = (&self.name, firsts.len(), out.len());
                let why = format!("strategy {name}: alloc_batch returned {nr} runs, more than the {nr_max} asked for");
                return Err(PyValueError::new_err(why));
            }
            Ok(firsts)
        });
        out.iter_mut().zip(&firsts).for_each(|(slot, &first)| *slot = SwpOffset(first));
        firsts.len()
    }

    fn free_batch(&self, firsts: &[SwpOffset], nr_pages: u32, cpu: CpuId) -> swapcore::Result<()> {
        if !self.has_free_batch {
            return firsts.iter().try_for_each(|&first| self.free(first, nr_pages, cpu));
        }
        self.call((), |py| {
            let firsts: Vec<u32> = firsts.iter().map(|first| first.0).collect();
            self.object.bind(py).call_method1(pyo3::intern!(py, "free_batch"), (firsts, nr_pages, cpu.0)).map(|_| ())
        });
        Ok(())
    }

    fn memory(&self) -> StrategyMemory {
        if !self.has_memory {
            return StrategyMemory::default();
        }
        self.call(StrategyMemory::default(), |py| {
            let counts = self.object.bind(py).call_method0(pyo3::intern!(py, "memory"))?;
            Ok(StrategyMemory {
                static_bytes: counts.get_item("static_bytes")?.extract()?,
                dynamic_bytes: counts.get_item("dynamic_bytes")?.extract()?,
            })
        })
    }
}

enum Kind {
    BuiltIn(Box<dyn swapcore::workload::strategy::Strategy>),
    Python(Wrapped),
}

#[doc = stub!(Strategy)]
#[pyclass(frozen, module = "swapcore")]
pub(crate) struct Strategy(Kind);

impl Strategy {
    fn get(&self) -> &dyn swapcore::workload::strategy::Strategy {
        match &self.0 {
            Kind::BuiltIn(strategy) => &**strategy,
            Kind::Python(wrapped) => wrapped,
        }
    }

    /// Runs a call with the allocator. An allocator of the core runs detached from the interpreter. For a strategy
    /// written in Python the call stays attached, because otherwise each call of a Python method would have to attach
    /// again.
    pub(crate) fn drive<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&dyn swapcore::workload::strategy::Strategy) -> swapcore::Result<T> + Send,
    ) -> Result<T> {
        let result = match &self.0 {
            Kind::BuiltIn(built_in) => py.detach(|| call(&**built_in)),
            Kind::Python(wrapped) => call(wrapped),
        };
        self.or_raised(())?;
        Ok(result?)
    }

    /// Returns `result`, or the stored exception if a Python strategy raised an exception.
    fn or_raised<T>(&self, result: T) -> Result<T> {
        match &self.0 {
            Kind::Python(wrapped) => wrapped.take_raised().map_or(Ok(result), |error| Err(Error::Python(error))),
            Kind::BuiltIn(_) => Ok(result),
        }
    }

    fn entry_range(&self, slot: u64, nr: u32) -> Result<SwpOffset> {
        let high = self.get().nr_slots() as u64 - 1;
        let bad =
            |what, value: u64, low, high| Error::Core(SwapError::OutOfRange { what, value: value.into(), low, high });
        if slot == 0 || slot > high {
            return Err(bad("slot", slot, 1, high));
        }
        if nr == 0 || slot + nr as u64 - 1 > high {
            return Err(bad("number of slots", nr.into(), 1, high + 1 - slot));
        }
        Ok(SwpOffset(slot as u32))
    }
}

getters! {
    Strategy(strategy):
    name: &str = strategy.get().name();
    max_order: u8 = strategy.get().max_order().get();
}

fn cpu(cpu: usize) -> Result<CpuId> {
    convert::cpu(Some(Cpu(cpu)), swapcore::base::limits::MAX_CPUS)
}

#[pymethods]
impl Strategy {
    #[classattr]
    fn names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        swapcore::workload::strategy::names().into_py_dict(py)
    }

    #[doc = stub!(Strategy.create)]
    #[staticmethod]
    #[pyo3(signature = (name, *, size_pages, nr_cpus = 1))]
    fn create(
        name: &str,
        size_pages: SizePages,
        #[pyo3(from_py_with = number::nr_cpus)] nr_cpus: usize,
    ) -> Result<Self> {
        Ok(Self(Kind::BuiltIn(swapcore::workload::strategy::create(name, size_pages.0.into(), nr_cpus)?)))
    }

    #[doc = stub!(Strategy.wrap)]
    #[staticmethod]
    #[pyo3(signature = (obj, *, size_pages, name = None))]
    fn wrap(obj: &Bound<'_, PyAny>, size_pages: SizePages, name: Option<String>) -> Result<Self> {
        Ok(Self(Kind::Python(Wrapped::new(obj, size_pages.0, name)?)))
    }

    #[doc = stub!(Strategy.alloc)]
    #[pyo3(signature = (order = 0, *, cpu = 0))]
    fn alloc(
        &self,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu)] cpu: usize,
    ) -> Result<i64> {
        let slot = self.get().alloc(convert::order(order)?, self::cpu(cpu)?);
        self.or_raised(slot.map_or(-1, |slot| slot.0.into()))
    }

    #[doc = stub!(Strategy.free)]
    #[pyo3(signature = (slot, nr = 1, *, cpu = 0))]
    fn free(
        &self,
        slot: Slot,
        #[pyo3(from_py_with = number::nr_slots)] nr: u32,
        #[pyo3(from_py_with = number::cpu)] cpu: usize,
    ) -> Result<()> {
        let first = self.entry_range(slot.0, nr)?;
        self.get().free(first, nr, self::cpu(cpu)?)?;
        self.or_raised(())
    }

    #[doc = stub!(Strategy.alloc_batch)]
    #[pyo3(signature = (nr, order = 0, *, cpu = 0))]
    fn alloc_batch(
        &self,
        nr: NrRuns,
        #[pyo3(from_py_with = number::order)] order: u64,
        #[pyo3(from_py_with = number::cpu)] cpu: usize,
    ) -> Result<SwapBatch> {
        let order = convert::order(order)?;
        let mut firsts = vec![SwpOffset(0); nr.0.min(self.get().nr_slots() as usize)];
        let nr_taken = self.get().alloc_batch(order, self::cpu(cpu)?, &mut firsts);
        let entries = firsts[..nr_taken].iter().map(|first| swapcore::SwpEntry::from_value(first.0.into())).collect();
        self.or_raised(SwapBatch::new(entries, order))
    }

    #[doc = stub!(Strategy.free_batch)]
    #[pyo3(signature = (batch, *, cpu = 0))]
    fn free_batch(&self, batch: EntriesArg<'_>, #[pyo3(from_py_with = number::cpu)] cpu: usize) -> Result<()> {
        let order = batch.order(0)?;
        let firsts: Result<Vec<_>> =
            batch.entries().iter().map(|entry| self.entry_range(entry.value(), order.nr_pages())).collect();
        self.get().free_batch(&firsts?, order.nr_pages(), self::cpu(cpu)?)?;
        self.or_raised(())
    }

    #[doc = stub!(Strategy.memory)]
    fn memory<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let memory = self.or_raised(self.get().memory())?;
        let counts = [("static_bytes", memory.static_bytes), ("dynamic_bytes", memory.dynamic_bytes)];
        Ok(counts.into_py_dict(py)?)
    }

    fn __repr__(&self) -> String {
        format!("<Strategy {} of {} slots>", self.name(), self.get().nr_slots())
    }
}
