"""Random programs over memory control in every combination of switches; R1 to R9 hold after each step.

Hypothesis and seeds drive `Program`. Hypothesis shrinks a failing program. Seeded programs are fast, so a run
makes thousands of them. A failure prints the program; `run_program(config, seed)` repeats a seeded program.
"""

from __future__ import annotations

import random

import pytest
from helpers.memcg_programs import CONFIGS, LITERAL_CONFIGS, STEPS, Config, Program
from helpers.programs import NUMBER_LIMIT, nr_programs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

PROGRAMS = nr_programs(4)
NR_STEPS = 32
LITERAL_PROGRAMS = nr_programs(30)

numbers = st.integers(0, NUMBER_LIMIT)


def run_program(config: Config, seed: int) -> Program:
    """Runs one seeded program to its end."""
    rng = random.Random(seed)
    program = Program(config, rng.randrange(12))
    # Each program draws its own weights, so that each program has a few frequent steps.
    weights = [weight * rng.choice([0, 1, 1, 3]) for weight in STEPS.values()]
    names = ["create_group"] * 3 + rng.choices(list(STEPS), [weight + 1 for weight in weights], k=NR_STEPS)
    with program.explained(f"seed {seed}"):
        program.run(names, rng)
        program.end()
    return program


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_books_balance_after_every_step(config: Config) -> None:
    first = CONFIGS.index(config) << 20
    for seed in range(first, first + PROGRAMS):
        run_program(config, seed)


def test_programs_do_what_they_are_for() -> None:
    """The programs have swap-outs, swap-ins, write errors, removed groups, limit events and large folios."""
    totals = dict.fromkeys(("pswpin", "pswpout", "swpout_zero", "write_errors"), 0)
    nr_dead, nr_refused, nr_large = 0, 0, 0
    for seed in range(40):
        program = run_program(Config("shadow", "v2", "default"), seed)
        stats = program.swap.stats()
        totals = {name: total + stats[name] for name, total in totals.items()}
        nr_large += stats["hugepages-16kB.swpin"]
        for group in program.world.groups:
            facts = group.counters()
            nr_dead += not group.is_online
            nr_refused += facts["events_max"] + facts["swap_events_max"]
    assert all(totals.values()), totals
    assert min(nr_dead, nr_refused, nr_large) > 0, (nr_dead, nr_refused, nr_large)


LITERAL_STEPS = {name: weight for name, weight in STEPS.items() if name not in ("alloc", "hibernate")}


def literal_faults(hierarchy: str) -> set[int]:
    """Runs programs with ``rfc_literal`` and returns the numbers of the balances R1 to R9 that are broken."""
    broken: set[int] = set()
    for seed in range(LITERAL_PROGRAMS):
        rng = random.Random(seed)
        program = Program(LITERAL_CONFIGS[hierarchy], rng.randrange(12))
        names = ["create_group"] * 4 + rng.choices(
            list(LITERAL_STEPS), LITERAL_STEPS.values(), k=NR_STEPS * 2
        )
        for name in names:
            program.step(name, *(rng.randrange(NUMBER_LIMIT) for _ in range(3)))
            broken.update(program.world.broken())
            if hierarchy == "v2":
                assert program.world.hierarchical_swap_errors() == [], "\n".join(program.log)
        program.end()
    return broken


@pytest.mark.parametrize(("hierarchy", "broken"), [("v2", {3, 4}), ("v1", {2, 4})])
def test_literal_text_breaks_the_local_statistic_and_memsw(hierarchy: str, broken: set[int]) -> None:
    # The defect K1 breaks balance 3, because a folio whose charge failed stays charged forever and no handle
    # refers to this folio.
    assert literal_faults(hierarchy) == broken


class MemcgMachine(RuleBasedStateMachine):
    """A program that hypothesis draws and shrinks."""

    program: Program | None = None

    @initialize(config=st.sampled_from(CONFIGS), variant=st.integers(0, 11))
    def start(self, config: Config, variant: int) -> None:
        """Makes the subsystem and two groups."""
        self.program = Program(config, variant)
        self.do("create_group", 0, 0, 0)
        self.do("create_group", 1, 0, 0)

    def do(self, name: str, a: int, b: int, c: int) -> None:
        """Makes a step and checks the balances R1 to R9."""
        assert self.program is not None
        self.program.step(name, a, b, c)
        self.program.verify()

    @rule(a=numbers, b=numbers, c=numbers, name=st.sampled_from(sorted(STEPS)))
    def any_step(self, name: str, a: int, b: int, c: int) -> None:
        """Makes any step."""
        self.do(name, a, b, c)

    @rule(a=numbers, b=numbers)
    def out(self, a: int, b: int) -> None:
        """Makes a folio and swaps any folio out."""
        self.do("make_folio", a, b, 1)
        self.do("swap_out", b, 0, 0)

    @rule(a=numbers, b=numbers)
    def back_into_another_group(self, a: int, b: int) -> None:
        """Removes a group, and swaps slots in that may belong to the removed group."""
        self.do("remove_group", a, 0, 0)
        self.do("swap_in", b, a, 0)

    def teardown(self) -> None:
        """Ends the program with `Program.end`."""
        if self.program is not None:
            self.program.end()


TestMemcgMachine = MemcgMachine.TestCase
TestMemcgMachine.settings = settings(max_examples=nr_programs(40), stateful_step_count=20)
