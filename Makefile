# Needs make and any Python >= 3.11 with its venv module; everything else is installed into .venv, once.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell tools/find-python)
STAMP := $(VENV)/.installed

.PHONY: demo test check bench soak generate clean

demo: $(STAMP)            ## a simulated switch, the agent, the embedded store and a page to look at
	@$(BIN)/vosship demo $(ARGS)

test: $(STAMP)            ## all tests, real OpenSearch and Elasticsearch nodes included
	@tools/prepare-tests
	$(BIN)/pytest $(ARGS)

check: $(STAMP)           ## lint, types, generated text fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python mappings/generate.py --check
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m vosship_enrich.generate_countries --check

bench: $(STAMP)           ## what it costs, beside a peer in the same run
	@tools/prepare-bench
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

BENCHMARKS ?= $(patsubst benchmarks/%.py,%,$(filter-out benchmarks/__init__.py benchmarks/null_server.py,$(wildcard benchmarks/*.py)))

generate: $(STAMP)        ## write the generated templates, field and option references
	$(BIN)/python mappings/generate.py
	$(BIN)/python docs/generate.py

soak: $(STAMP)            ## an hour of crashes, deletions and outages; ARGS="--minutes 10" for less
	$(BIN)/python -m tests.soak $(ARGS)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "vosship needs Python 3.11 or newer with its venv module (Debian: python3-venv); none was found" >&2; exit 1; }
	@echo "preparing $(VENV) with $(PYTHON): a minute the first time, nothing after that"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

clean:                    ## remove what the targets above made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo
