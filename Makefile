# Two commands: `make demo` and `make test`. Needs python3.11 or later, pip, cargo, gcc, make; the rest installs itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILT := $(VENV)/.built
# The extension's docstrings come from the stubs.
RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock $(wildcard python/swapcore/_core*.pyi)

.PHONY: demo test test-rust test-rust-build test-python lint lint-rust lint-python bench readme stress dist clean help

help:
	@echo 'make demo    build, install into .venv, compare strategies on the bundled kernel build'
	@echo 'make test    build, run the Rust and Python tests'
	@echo 'make lint    rustfmt, clippy, ruff, mypy'
	@echo 'make bench   Rust benches, then pytest-benchmark'
	@echo 'make readme  measure the first picture and table of README.md again'
	@echo 'make stress  threads from Rust and from Python, 30 s each'
	@echo 'make dist    wheel and sdist into dist/, the sdist installed in a clean venv'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("swapcore needs python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(BUILT): $(RUST) pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev,plot]'
	@touch $@

demo: $(BUILT)
	$(BIN)/swapcore compare --trace kernel-build

test: test-rust test-python

# With CLIPPY=1, clippy-driver compiles the core and its tests: rustc, with the lints of clippy. `.ci/run` lints the
# core so, because `cargo clippy` compiles every dependency a second time.
CLIPPY_DRIVER := $(if $(CLIPPY),RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__)
TEST_RUST := $(CLIPPY_DRIVER) cargo test --locked --workspace --exclude swapcore-py

# The examples are left out, because `make lint` builds them.
test-rust:
	$(TEST_RUST) --lib --tests
	$(TEST_RUST) --doc

# Builds the Rust tests, benches and examples and runs none.
test-rust-build:
	$(TEST_RUST) --all-targets --no-run

test-python: $(BUILT)
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: lint-rust lint-python

lint-rust:
	cargo fmt --all --check
	cargo clippy --locked $(if $(CLIPPY),-p swapcore-py,--workspace) --all-targets --profile test -- -D warnings

lint-python: $(BUILT)
	$(BIN)/ruff check python tests benches examples
	$(BIN)/mypy

bench: $(BUILT)
	cargo bench --locked -p swapcore
	$(BIN)/python -m pytest benches --benchmark-autosave

readme: $(BUILT)
	$(BIN)/python benches/readme.py

stress: $(BUILT)
	$(BIN)/swapcore stress --threads 8 --seconds 30
	$(BIN)/swapcore stress --threads 8 --seconds 30 --python

dist: | $(BIN)/python
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build --sdist --outdir dist
	rm -rf $(VENV)-sdist
	$(PYTHON) -m venv $(VENV)-sdist
	$(VENV)-sdist/bin/pip install --quiet --disable-pip-version-check dist/*.tar.gz
	$(VENV)-sdist/bin/swapcore compare --trace kernel-build --rounds 1
	rm -rf $(VENV)-sdist

clean:
	rm -rf target $(VENV) dist
