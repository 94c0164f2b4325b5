# Everything a fresh machine needs is installed by these targets into .venv; nothing outside is touched,
# except that `make test` installs Chromium and PostgreSQL from the distribution when they are missing.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SANDBOX ?= 1
SANDBOX_PORT ?= 8929
DATA_DIR := $(or $(GATEHOUSE_DATA_DIR),var)
WORKERS ?= 4

.PHONY: run test lint bench fuzz lock pictures clean

run: $(VENV)/.runtime
	@$(if $(PORT),GATEHOUSE_BASE_URL=http://127.0.0.1:$(PORT)) $(BIN)/python -m portal serve \
	  $(if $(filter 1,$(SANDBOX)),--sandbox --sandbox-port=$(SANDBOX_PORT)) --log-file='$(DATA_DIR)/gatehouse.log'

test: $(VENV)/.dev
	tests/system_packages.sh
	$(MAKE) lint
	$(BIN)/pytest -n $(WORKERS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry .

bench: $(VENV)/.dev
	$(BIN)/python -m bench

lock: $(VENV)/.dev
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --generate-hashes --no-header --no-emit-index-url --python-version 3.11 -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --group dev -c requirements.txt --generate-hashes --no-header --no-emit-index-url --python-version 3.11 -o requirements-dev.txt

$(VENV)/.runtime: requirements.txt
	@# An installation that was interrupted may have left half an environment.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) 2>/dev/null || python3 -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Gatehouse needs Python 3.11 or newer. Remove $(VENV), and name one: make run PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing Python packages into $(VENV), once: about a minute …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing what the tests need into $(VENV), once: about a minute …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.txt
	@touch $@

# REQUESTS=1000000 SEED=1; a failure prints the seed that shows it again.
fuzz: $(VENV)/.dev
	$(BIN)/python -m bench.fuzz $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(SEED),--seed $(SEED))

pictures: $(VENV)/.dev
	$(BIN)/python -m bench.pictures

clean:
	rm -rf $(VENV) var build dist .pytest_cache .mypy_cache .ruff_cache
