# `make` alone lists the targets. Everything runs in .venv, which `make setup` makes and every other target asks for.
PYTEST_ARGS ?=
READY := .venv/.ready
BENCHMARKS := flow same_tables flaps messages lake_write ingest

.PHONY: help setup demo test check bench kafka kafka-stop s3 s3-stop lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## make the environment in .venv, with .venv/bin/parkpal

# A Python counts only if it runs: version managers leave commands on the path that do not. Without a fitting one uv
# brings it. Where uv cannot reach the registry (a proxy or an index that only pip knows of), pip installs the same lock.
FITS := import sys, venv, ensurepip; raise SystemExit(not (3, 11) <= sys.version_info < (3, 13))
$(READY): requirements.lock pyproject.toml
	@set -eu; \
	if ! .venv/bin/python -c '$(FITS)' 2>/dev/null; then \
		rm -rf .venv; python=; \
		for name in python3.12 python3.11 python3 python; do \
			if $$name -c '$(FITS)' 2>/dev/null; then python=$$name; break; fi; \
		done; \
		if [ -n "$$python" ]; then \
			echo "making .venv with $$($$python --version)"; \
			$$python -m venv .venv; \
		else \
			echo "making .venv with a Python that uv brings: none of 3.12 or 3.11 runs here"; \
			rm -rf .venv.uv; trap 'rm -rf .venv.uv' EXIT; \
			python3 -m pip install --quiet --target .venv.uv uv; \
			PYTHONPATH=.venv.uv python3 -m uv venv --quiet --seed --python 3.12 .venv; \
		fi; \
	fi; \
	[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet uv; \
	export VIRTUAL_ENV="$(CURDIR)/.venv"; \
	.venv/bin/uv pip install --quiet --require-hashes -r requirements.lock || \
		.venv/bin/python -m pip install --quiet --require-hashes -r requirements.lock; \
	.venv/bin/python -m pip install --quiet --no-deps --editable .; \
	touch $@

demo: setup  ## simulate a city hour and a driver's day, push them through the whole way, show what is found, and serve
	@.venv/bin/parkpal demo

test: setup  ## run the tests
	@.venv/bin/pytest -n 2 --cov --cov-report= $(PYTEST_ARGS)

check: setup  ## lint, format, types, import contracts, coverage of the last `make test`
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache
	@[ -f .coverage ] || $(MAKE) test
	@.venv/bin/coverage report | tail -n 3

bench: setup  ## run the benchmarks
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; .venv/bin/python -m benchmarks.$$name; done

kafka: setup  ## start a Kafka broker without Docker (Java 17, Maven once), print its URL; data in data/kafka
	@.venv/bin/python -m deploy.kafka.broker start

kafka-stop: setup  ## stop that broker; what it holds stays
	@.venv/bin/python -m deploy.kafka.broker stop

lock: setup  ## resolve pyproject.toml anew into requirements.lock
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-annotate --no-header --no-emit-index-url pyproject.toml -o requirements.lock

s3: setup  ## start an S3 server without Docker (built once by Go), print what to set; data in data/s3
	@.venv/bin/python -m deploy.s3.gateway start

s3-stop: setup  ## stop that server; what it holds stays
	@.venv/bin/python -m deploy.s3.gateway stop

clean:  ## remove the environment, caches and the demo's data
	rm -rf .venv build data/demo *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
