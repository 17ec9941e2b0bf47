//! A wrapper around another storage. A [`FaultPlan`] decides which calls the wrapper fails or delays, and which
//! writes it tears. A torn write writes only its first pages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::io::Errno;

use super::{Call, StorageStats, SwapStorage};
use crate::base::error::{Result, SwapError, check_share};
use crate::base::limits::PAGE_SIZE;
use crate::base::sync::SpinMutex;
use crate::base::types::SwpOffset;
use crate::storage::spec::DeviceSpec;

/// Shortest delay for which a thread sleeps. For a shorter delay the thread spins, because every sleep takes about
/// this time or longer.
const SLEEP_NS_MIN: u64 = 100_000;

/// The faults to inject. The default plan injects no fault.
///
/// A call is checked for three faults in this order: the failure by number, the torn write, the failure by
/// probability.
#[derive(Clone, PartialEq, Debug)]
pub struct FaultPlan {
    /// Number of the write that fails, where 1 is the next write. The failure happens once.
    pub fail_write_in: Option<u64>,
    /// Number of the read that fails, where 1 is the next read. The failure happens once.
    pub fail_read_in: Option<u64>,
    /// Probability that a write fails, 0.0..=1.0.
    pub write_error_probability: f64,
    /// Probability that a read fails, 0.0..=1.0.
    pub read_error_probability: f64,
    /// The errno of a failure by number or by probability. A torn write fails with EIO instead.
    pub errno: i32,
    /// Number of pages of the next write that reach the wrapped storage before the write fails with EIO. The torn
    /// write happens once.
    pub tear_write_pages: Option<u32>,
    /// Delay of each write, read and discard, in ns.
    pub delay_ns: u64,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self {
            fail_write_in: None,
            fail_read_in: None,
            write_error_probability: 0.0,
            read_error_probability: 0.0,
            errno: Errno::IO.raw_os_error(),
            tear_write_pages: None,
            delay_ns: 0,
        }
    }
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    rng: ChaCha8Rng,
    injected_write_errors: u64,
    injected_read_errors: u64,
    torn_writes: u64,
    delayed_calls: u64,
}

/// A storage that adds planned faults to another storage. Kernel: like `dm-flakey` and `dm-delay`.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn SwapStorage>,
    state: SpinMutex<State>,
}

/// The result that the plan gives one write.
enum Fate {
    Passes,
    Fails(Errno),
    Tears(u32),
}

/// Lowers the count by 1. Returns whether the count becomes 0, which means that the current call fails.
fn is_due(count: &mut Option<u64>) -> bool {
    *count = count.map(|n| n.saturating_sub(1));
    count.take_if(|n| *n == 0).is_some()
}

impl State {
    fn write_fate(&mut self) -> Fate {
        let fails = is_due(&mut self.plan.fail_write_in);
        if let Some(pages) = self.plan.tear_write_pages.take_if(|_| !fails) {
            self.torn_writes += 1;
            return Fate::Tears(pages);
        }
        if fails || self.rng.random_bool(self.plan.write_error_probability) {
            self.injected_write_errors += 1;
            return Fate::Fails(Errno::from_raw_os_error(self.plan.errno));
        }
        Fate::Passes
    }

    fn read_fails(&mut self) -> Option<Errno> {
        let fails = is_due(&mut self.plan.fail_read_in) || self.rng.random_bool(self.plan.read_error_probability);
        self.injected_read_errors += u64::from(fails);
        fails.then(|| Errno::from_raw_os_error(self.plan.errno))
    }
}

fn wait(delay_ns: u64) {
    if delay_ns >= SLEEP_NS_MIN {
        return std::thread::sleep(Duration::from_nanos(delay_ns));
    }
    let start = Instant::now();
    while start.elapsed().as_nanos() < u128::from(delay_ns) {
        std::hint::spin_loop();
    }
}

impl Faulty {
    /// Makes a wrapper with a plan without faults. Equal seeds give equal random failures.
    pub fn new(inner: Arc<dyn SwapStorage>, seed: u64) -> Self {
        let (plan, rng) = (FaultPlan::default(), ChaCha8Rng::seed_from_u64(seed));
        let state =
            State { plan, rng, injected_write_errors: 0, injected_read_errors: 0, torn_writes: 0, delayed_calls: 0 };
        Self { inner, state: SpinMutex::new(state) }
    }

    /// Replaces the plan. The new plan applies to calls that begin after this call. Errors, with the old plan kept:
    /// `BadShare`, `OutOfRange` (EINVAL).
    pub fn set_plan(&self, plan: FaultPlan) -> Result<()> {
        let out_of_range = |what, value, low, high| Err(SwapError::OutOfRange { what, value, low, high });
        for p in [plan.write_error_probability, plan.read_error_probability] {
            check_share("error probability", p, 1)?;
        }
        if !(1..=4095).contains(&plan.errno) {
            return out_of_range("errno", plan.errno.into(), 1, 4095);
        }
        if plan.fail_write_in == Some(0) || plan.fail_read_in == Some(0) {
            return out_of_range("calls until a failure", 0, 1, u64::MAX);
        }
        self.state.lock().plan = plan;
        Ok(())
    }

    /// Decides under the lock of the state whether a call fails, and then waits for the planned delay with no lock
    /// held.
    fn delayed<T>(&self, decide: impl FnOnce(&mut State) -> T) -> T {
        let (delay_ns, fate) = {
            let mut state = self.state.lock();
            state.delayed_calls += u64::from(state.plan.delay_ns > 0);
            (state.plan.delay_ns, decide(&mut state))
        };
        wait(delay_ns);
        fate
    }

    /// Returns the plan in its current state. Each write lowers `fail_write_in`, and each read lowers `fail_read_in`.
    /// A fault that happens once is removed from the plan when it happens.
    pub fn plan(&self) -> FaultPlan {
        self.state.lock().plan.clone()
    }
}

impl SwapStorage for Faulty {
    fn wrapped(&self) -> Option<&Arc<dyn SwapStorage>> {
        Some(&self.inner)
    }

    fn kind(&self) -> &'static str {
        "faulty"
    }

    fn spec(&self) -> DeviceSpec {
        self.inner.spec()
    }

    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        let fate = self.delayed(State::write_fate);
        let call = Call::new("write", "faulty", first, data.len());
        match fate {
            Fate::Passes => self.inner.write(first, data),
            Fate::Fails(errno) => Err(call.failed(errno, "injected")),
            Fate::Tears(pages) => {
                let bytes = data.len().min(pages as usize * PAGE_SIZE);
                if bytes > 0 {
                    self.inner.write(first, &data[..bytes])?;
                }
                Err(call.failed(Errno::IO, format!("injected: torn after {pages} pages")))
            }
        }
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        match self.delayed(State::read_fails) {
            Some(errno) => Err(Call::new("read", "faulty", first, data.len()).failed(errno, "injected")),
            None => self.inner.read(first, data),
        }
    }

    fn slot_free_notify(&self, first: SwpOffset, nr_pages: u32) {
        self.inner.slot_free_notify(first, nr_pages);
    }

    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        self.delayed(|_| ());
        self.inner.discard(first, nr_pages)
    }

    fn plan_faults(&self, plan: FaultPlan) -> Result<()> {
        self.set_plan(plan)
    }

    /// Returns the counters of the wrapped storage, followed by the counters of this wrapper.
    fn stats(&self) -> StorageStats {
        let mut stats = self.inner.stats();
        let state = self.state.lock();
        stats.extend([
            ("injected_write_errors", state.injected_write_errors),
            ("injected_read_errors", state.injected_read_errors),
            ("torn_writes", state.torn_writes),
            ("delayed_calls", state.delayed_calls),
        ]);
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Ram;

    const AT: SwpOffset = SwpOffset(1);
    const PAGE: [u8; PAGE_SIZE] = [6; PAGE_SIZE];

    fn faulty(plan: FaultPlan) -> Faulty {
        let faulty = Faulty::new(Arc::new(Ram::new(64).expect("a size")), 1);
        faulty.set_plan(plan).expect("a good plan");
        faulty
    }

    fn figure(storage: &dyn SwapStorage, name: &str) -> u64 {
        storage.stats().into_iter().find(|figure| figure.0 == name).expect("a figure").1
    }

    #[test]
    fn the_counted_call_fails_once() {
        let faulty =
            faulty(FaultPlan { fail_write_in: Some(2), fail_read_in: Some(1), errno: 28, ..FaultPlan::default() });
        let errnos = [1, 2, 3].map(|first| faulty.write(SwpOffset(first), &PAGE).err().map(|error| error.errno()));
        assert_eq!(errnos, [None, Some(28), None]);
        let mut back = [0; PAGE_SIZE];
        assert!(faulty.read(AT, &mut back).is_err() && faulty.read(AT, &mut back).is_ok());
        assert_eq!(faulty.plan(), FaultPlan { errno: 28, ..FaultPlan::default() });
        assert_eq!((figure(&faulty, "injected_write_errors"), figure(&faulty, "injected_read_errors")), (1, 1));
        assert_eq!(figure(&faulty, "orig_data_size"), 2 * 4096, "the stats include the figures of the storage below");
    }

    #[test]
    fn a_torn_write_leaves_its_first_pages() {
        let faulty = faulty(FaultPlan { tear_write_pages: Some(2), ..FaultPlan::default() });
        let error = faulty.write(AT, &PAGE.repeat(4)).expect_err("torn");
        assert_eq!((error.errno(), figure(&faulty, "torn_writes")), (5, 1));
        let mut back = vec![1; 4 * PAGE_SIZE];
        faulty.read(AT, &mut back).expect("memory");
        assert!(back[..2 * PAGE_SIZE] == PAGE.repeat(2) && back[2 * PAGE_SIZE..] == [0; 2 * PAGE_SIZE]);
        faulty.write(AT, &PAGE.repeat(4)).expect("a write is torn once");
    }

    #[test]
    fn equal_seeds_fail_the_same_calls() {
        let errors = || {
            let faulty = faulty(FaultPlan { write_error_probability: 0.25, ..FaultPlan::default() });
            (0..400).map(|_| faulty.write(AT, &PAGE).is_err()).collect::<Vec<_>>()
        };
        let first = errors();
        assert_eq!(first, errors());
        assert!((50..150).contains(&first.iter().filter(|&&failed| failed).count()));
    }

    #[test]
    fn delays_are_waited_for_but_not_by_a_free() {
        for delay_ns in [20_000, 2_000_000] {
            let faulty = faulty(FaultPlan { delay_ns, ..FaultPlan::default() });
            let start = Instant::now();
            faulty.write(AT, &PAGE).expect("memory");
            assert!(start.elapsed().as_nanos() >= u128::from(delay_ns));
            faulty.slot_free_notify(AT, 1);
            faulty.discard(AT, 1).expect("memory");
            assert_eq!(figure(&faulty, "delayed_calls"), 2);
        }
    }

    #[test]
    fn a_plan_that_cannot_be_is_refused() {
        let faulty = faulty(FaultPlan::default());
        for plan in [
            FaultPlan { write_error_probability: 1.5, ..FaultPlan::default() },
            FaultPlan { read_error_probability: f64::NAN, ..FaultPlan::default() },
            FaultPlan { errno: 0, ..FaultPlan::default() },
            FaultPlan { fail_read_in: Some(0), ..FaultPlan::default() },
        ] {
            assert_eq!(faulty.set_plan(plan).expect_err("no plan").errno(), 22);
        }
        assert_eq!(faulty.plan(), FaultPlan::default());
    }
}
