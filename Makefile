# Two commands: `make up` runs the platform, `make test` proves it. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help env env-dev up down status test storm soak lint schemas format lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else "WellOS needs Python 3.11 or 3.12, and $(PYTHON) is %d.%d: make up PYTHON=python3.11" % v)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python cannot make an environment. On Debian: apt-get install python3-venv"; exit 1; }

# A stamp a lock file: nothing is installed twice, and a changed lock file is installed again.
$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

env: $(VENV)/.run ## the environment that runs the platform

env-dev: $(VENV)/.dev ## the environment that also tests and lints

up: env ## run the whole platform on an embedded stack (ARGS="--wells 50")
	@$(BIN)/wellos up $(ARGS)

down: env ## stop a platform started with `wellos up --detach`
	@$(BIN)/wellos down

status: env ## what is up, where, and how fast
	@$(BIN)/wellos status

test: env-dev ## all tests (ARGS="-k name"); WELLOS_TEST_DATABASE_URL names another server
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

storm: env-dev ## break a whole platform at random, then count every reading (SECONDS=600 SEED=n RATE=5000 ARGS="--instances 2")
	$(BIN)/python -m tests.storm --seconds $(or $(SECONDS),600) --rate $(or $(RATE),5000) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: env-dev ## a long run with planned faults: two of the database, one of the broker, three kill -9 (SECONDS=1800 RATE=20000)
	$(BIN)/python -m tests.storm --plan soak --seconds $(or $(SECONDS),1800) --rate $(or $(RATE),20000) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: env-dev ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

schemas: env-dev ## check compose.yaml and the workflow against their public schemas
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yaml

format: env-dev ## apply the formatter and the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## lock exact versions with hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header pyproject.toml --group build -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

clean: ## remove the environment and the embedded stack's data
	rm -rf $(VENV) .wellos
