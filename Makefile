# The front door. Every target prepares what it needs (tools/prepare.sh) and runs in an environment of hatch; see CONTRIBUTING.md.

MAKEFLAGS += --no-print-directory
HATCH := .venv/bin/hatch
CLUSTER = PYTHONPATH=e2e $(HATCH) run python -m harness
GUEST = PYTHONPATH=kernel $(HATCH) run python -m guest
# Which Kubernetes (a folder of e2e/tools), feature gates and API versions: make e2e K8S=1.34 GATES=A=true,B=false SERVED=...
export K8S GATES SERVED

.PHONY: help demo bench bench-cluster fuzz test test-all kills test-kernel kernel-parts kernel-shell e2e e2e-tools cluster cluster-down lint format image protos clean

help:
	@echo "make demo       a simulated node, the real driver, one claim after another; ARGS=--json for events, ARGS=\"--driver gaudi\" for the other driver"
	@echo "make bench      what the driver costs: time, memory, requests; ARGS=--help for its options"
	@echo "make bench-cluster  the same on a real one-node Kubernetes, as root; ARGS=\"--only storm\" K8S=1.34"
	@echo "make fuzz       every parser and the claim engine under random input; RUNS=100000 TARGET=cdi JSON=1"
	@echo "make test       all tests, on the newest CPython of 3.11-3.13 here; ARGS goes to pytest"
	@echo "make test-all   all tests on each of them"
	@echo "make kills      the driver is killed, and its disk fails, at every change it makes; prints how many"
	@echo "make test-kernel   tests of a real Linux kernel, in a QEMU guest; downloads it once, installs nothing; ARGS goes to pytest"
	@echo "make kernel-shell  the same guest with a shell to play in"
	@echo "make e2e        tests against a real one-node Kubernetes, as root; K8S=1.34 GATES=Name=false; ARGS goes to pytest"
	@echo "make cluster    the same Kubernetes with a shell to play in, as root; ends with make cluster-down"
	@echo "make lint       ruff, mypy, import contracts, stale generated files"
	@echo "make format     let ruff rewrite what it can"
	@echo "make image      a driver's container image as dist/intel-gpu-driver.tar, without a registry; as root; DRIVER=gaudi-driver"
	@echo "make protos     generate the gRPC stubs again"
	@echo "make clean      remove .venv, .hatch and caches"

demo:
	@tools/prepare.sh
	@$(HATCH) run python -m dra_common.testing.demo $(ARGS)

bench:
	@tools/prepare.sh
	@$(HATCH) run python -m dra_common.testing.benchmark $(ARGS)

bench-cluster:
	@tools/prepare.sh
	@$(CLUSTER) build
	@$(CLUSTER) image
	@PYTHONPATH=e2e $(HATCH) run python -m bench $(ARGS)

fuzz:
	@tools/prepare.sh fuzz
	@$(HATCH) run fuzz:python tools/fuzz.py $(if $(RUNS),--runs $(RUNS)) $(addprefix --target ,$(TARGET)) $(if $(INPUT),--input $(INPUT)) \
		$(if $(JSON),--json) $(ARGS)

test:
	@tools/prepare.sh --tests
	@$(HATCH) run tools/test.sh $(ARGS)

test-all:
	@tools/test_all.sh $(ARGS)

kills:
	@tools/prepare.sh
	@KILLS=$(or $(KILLS),all) $(HATCH) run python -m pytest -q -n auto packages/common/tests/test_kills.py packages/common/tests/pci/test_engine.py $(ARGS)

test-kernel:
	@tools/prepare.sh
	@$(GUEST) fetch
	@$(GUEST) test $(ARGS)

# With the standard library alone, as e2e-tools.
kernel-parts:
	@python=$$(tools/pythons.sh --newest | cut -d' ' -f2); PYTHONPATH=kernel $${python:-python3} -m guest fetch

kernel-shell:
	@tools/prepare.sh
	@$(GUEST) shell

# Programs and image are built before pytest, which would hide the progress and end a build that takes long.
e2e:
	@tools/prepare.sh
	@$(CLUSTER) build
	@$(CLUSTER) image
	@$(HATCH) run python -m pytest -q -p no:cacheprovider --timeout=600 e2e/tests $(ARGS)

# With the standard library alone, so that it can go on in the background while other targets prepare themselves.
e2e-tools:
	@python=$$(tools/pythons.sh --newest | cut -d' ' -f2); PYTHONPATH=e2e $${python:-python3} -m harness build

cluster:
	@tools/prepare.sh
	@$(CLUSTER) up $(ARGS)

cluster-down:
	@tools/prepare.sh
	@$(CLUSTER) down

lint:
	@tools/prepare.sh
	@$(HATCH) run python tools/lint.py

format:
	@tools/prepare.sh
	@$(HATCH) run ruff check --fix-only --quiet .
	@$(HATCH) run ruff format .

image:
	@tools/prepare.sh
	@$(HATCH) run python tools/build_image.py $(addprefix --driver=,$(DRIVER)) $(ARGS)

protos:
	@tools/prepare.sh
	@$(HATCH) run protos

clean:
	@rm -rf .venv .hatch .e2e .kernel .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist .fuzz .image
	@find packages tools e2e kernel -name __pycache__ -type d -prune -exec rm -rf {} +
