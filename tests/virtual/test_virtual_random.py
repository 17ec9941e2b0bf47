"""Random programs over virtual slots, which hypothesis draws and shrinks."""

from __future__ import annotations

from helpers.programs import NUMBER_LIMIT, nr_programs
from helpers.virtual_facts import C
from helpers.virtual_programs import Program, Size
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

numbers = st.integers(0, NUMBER_LIMIT - 1)
steps = st.sampled_from([name for name, weight in Program.STEPS.items() for _ in range(weight)])


class VirtualMachine(RuleBasedStateMachine):
    """The steps of `Program` as hypothesis rules, on small devices with little memory."""

    @initialize(
        size=st.builds(
            Size,
            ghost_pages=st.integers(1, 4).map(C.__mul__),
            physical_pages=st.sampled_from([16, 64, C]),
            memory_pages=st.just(512),
            swap_max_pages=st.sampled_from([None, 0, 8]),
            zswap_percent=st.sampled_from([0, 1, 2, 20]),
        ),
        hierarchy=st.sampled_from(["v2", "v2", "v1"]),
    )
    def start(self, size: Size, hierarchy: str) -> None:
        """Makes the subsystem."""
        self.program = Program(size, hierarchy=hierarchy)

    @rule(name=steps, a=numbers, b=numbers, c=numbers)
    def step(self, name: str, a: int, b: int, c: int) -> None:
        """Makes one step."""
        self.program.step(name, a, b, c)

    @rule(a=numbers, b=numbers, c=numbers)
    def make(self, a: int, b: int, c: int) -> None:
        """Makes a folio, because most steps need a folio."""
        self.program.step("make", a, b, c)

    @invariant()
    def holds(self) -> None:
        """Verifies the invariants, the balances R1 to R9 of groups, the states of slots, and the bytes."""
        if hasattr(self, "program"):
            self.program.verify()

    def teardown(self) -> None:
        """Compares all pages and ends the program."""
        if hasattr(self, "program"):
            self.program.finish()


TestVirtualMachine = VirtualMachine.TestCase
TestVirtualMachine.settings = settings(max_examples=nr_programs(40), stateful_step_count=30)
