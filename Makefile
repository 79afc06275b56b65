# `make` alone explains itself. Everything installs into .venv; a bare Debian 12 with Python and make is enough.
.DEFAULT_GOAL := help
.PHONY: help demo test test-long up lint types metrics protos protos-check openapi openapi-check format install install-dev servers rolling faults bench bench-serving large chaos clean cluster-test k8s
SHELL := /bin/bash
BIN := .venv/bin
# Threads that spin while they wait would make every suite many times slower beside a busy neighbour.
export OMP_WAIT_POLICY := PASSIVE
# The system's Python runs the stop-watch, so that the time of the installation itself can be taken.
TIMED := python3 scripts/timed.py
# Targets side by side, each one's output whole at its end, and every minute a line that says where each is.
LANES = python3 scripts/lanes.py "$(MAKE) --no-print-directory"

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: install ## Carry a drawn image set from import to prediction (ONCE=1: then stop; PROFILE=servers: on real servers)
	$(BIN)/aimic demo $(if $(ONCE),--once) $(if $(PROFILE),--profile $(PROFILE))

test: ## Install everything that is needed and pass every check and test
	$(TIMED) installs $(MAKE) --no-print-directory --jobs=2 --output-sync=line install-dev servers
	$(TIMED) spine $(MAKE) --no-print-directory check-spine
	$(TIMED) servers $(MAKE) --no-print-directory check-servers
	$(TIMED) serving $(MAKE) --no-print-directory check-serving
	$(TIMED) kubernetes $(MAKE) --no-print-directory check-kubernetes

.PHONY: check-spine check-code check-whole check-servers check-on-servers check-faults check-serving check-pods check-of-serving check-kubernetes
PYTEST := $(BIN)/pytest -p no:cacheprovider --durations=10
# Two lanes for two cores: what runs inside the test process, with the records on
# PostgreSQL, beside the contracts over every adapter and what starts the platform's real processes. Types are checked
# in the second, so that both take about as long. What is about serving, with the ten
# networks that are trained to be served, runs with `check-serving`.
OF_SERVING := tests/unit/aimic/nets tests/unit/aimic/adapters/torchserve tests/unit/services/inference \
	tests/contract/test_predictor.py tests/integration/test_inference_grpc.py tests/integration/test_inference_process.py \
	tests/integration/test_trainer_networks.py
BESIDES := $(OF_SERVING:%=--ignore=%)
check-spine: install-dev
	$(LANES) check-code check-whole

check-code: lint protos-check openapi-check
	$(PYTEST) $(BESIDES) tests/unit tests/servers/records

check-whole: types
	$(PYTEST) $(BESIDES) -m "not long" tests/contract tests/integration tests/e2e

# On the real PostgreSQL, Kafka and MinIO, in two lanes again: the tests beside as many histories of faults as fit
# 8 minutes. Each lane starts servers of its own.
check-servers:
	$(LANES) check-on-servers check-faults

check-on-servers:
	$(PYTEST) -m "not long" tests/servers --ignore tests/servers/records

check-faults:
	$(BIN)/python -m tests.faults --seconds 480

# Inference pods as real processes, beside what is about serving and runs inside the test process.
check-serving:
	$(LANES) check-pods check-of-serving

check-pods:
	$(PYTEST) -m "not long" tests/serving

check-of-serving:
	$(PYTEST) $(OF_SERVING)

# The chart, rendered by the real Helm.
check-kubernetes:
	$(PYTEST) tests/kubernetes

up: install ## Start the platform on this machine; Ctrl-C stops it (PROFILE=servers: on real servers)
	$(BIN)/aimic up $(if $(PROFILE),--profile $(PROFILE))

servers: ## Get PostgreSQL, Kafka, MinIO, Toxiproxy, Prometheus and Helm for this machine (cached in ~/.cache/aimic)
	@$(or $(PYTHON),python3) -m services.local.servers.install

test-long: install-dev servers ## The tests that are too slow for `make test`; their last output is kept in docs/long.txt
	set -o pipefail; $(BIN)/pytest -p no:cacheprovider -m long tests/servers tests/e2e tests/serving -v \
		--ignore tests/serving/test_rolling.py 2>&1 | tee docs/long.txt

rolling: install-dev ## 100,000 requests while versions are promoted and rolled back (REQUESTS=…): docs/rolling.txt
	set -o pipefail; AIMIC_TEST_REQUESTS=$(or $(REQUESTS),100000) $(PYTEST) -m long tests/serving/test_rolling.py -v -s \
		2>&1 | tee docs/rolling.txt

faults: install-dev servers ## Run N (40) histories of faults on the real servers; the last output is kept in docs/faults.txt; SEED=… replays one
	$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED),--number $(or $(N),40) --keep docs/faults.txt)

k8s: install-dev servers ## Render k8s/small and k8s/production from the chart
	PYTHONPATH=. $(BIN)/python scripts/kubernetes.py

cluster-test: install-dev servers ## The chart on a real Kubernetes: docs/cluster.txt (KUBECONFIG: on yours; AIMIC_CLUSTER: a program that starts one)
	$(BIN)/python -m tests.cluster --keda --keep docs/cluster.txt

lint: install-dev ## ruff, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install-dev ## mypy --strict
	$(BIN)/mypy

format: install-dev ## Put the code into its one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

metrics: install-dev ## Write docs/metrics.md from what the services export
	$(BIN)/python scripts/metrics.py

protos: install-dev ## Generate the gRPC stubs from proto/
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/protos.sh

protos-check: install-dev ## The committed stubs are those of proto/
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/protos.sh --check

openapi: install-dev ## Write docs/openapi/ from the services
	$(BIN)/python scripts/openapi.py

openapi-check: install-dev ## docs/openapi/ is what the services serve
	$(BIN)/python scripts/openapi.py --check

bench: install-dev servers ## Measure this machine and write the tables of benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.spine
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.importing

bench-serving: install-dev ## Measure serving against TorchServe, LitServe and eager torch, about two hours (ONLY="throughput overload": these parts)
	@scripts/bench-peers.sh
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.serving $(if $(ONLY),--only $(ONLY))

large: install-dev servers ## Import 100,000 images, then 20 GiB, and watch every process's memory: docs/large.txt (IMAGES=100 GIB=1)
	$(BIN)/python -m benchmarks.large --profile servers --compress --images $(or $(IMAGES),100000) \
		--archive-gib $(or $(GIB),20) --keep docs/large.txt

chaos: install-dev servers ## Three trainers, one killed every 20 s for ten minutes, and the same models (MINUTES=10)
	$(BIN)/python -m benchmarks.chaos --minutes $(or $(MINUTES),10)

install: ## Install what running needs
	@scripts/install.sh all

install-dev: ## Install what the tests need too
	@scripts/install.sh dev
	@scripts/chromium.sh
	@PYTHON=$(CURDIR)/$(BIN)/python scripts/oip_clients.sh > /dev/null

clean: ## Remove .venv and caches (never data)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
