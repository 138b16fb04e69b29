# Few targets; each works on a fresh machine with Python 3.10 or later and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SR := $(BIN)/srdeploy
DEMO := runs/demo
FAST = OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto -m "not slow and not gpu and not emulated"
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^test-%/test-FOLDER/; s/:[^#]*## /\t/' \
		| expand -t 14

# An environment of its own, with what running needs (demo) or what developing needs (test, lint).
$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e '.[dev,trt-rtx]'
	@touch $(VENV)/.run $@

.PHONY: demo
demo: $(VENV)/.run  ## Prune, fine-tune, export and measure the shipped network (no downloads, under 5 minutes)
	@mkdir -p $(DEMO)
	$(SR) eval bicubic --eval-data builtin --scale 2
	$(SR) prune edsr-s-x2 --method reconstruct --ratio 0.5 -o $(DEMO)/pruned.safetensors
	$(SR) finetune $(DEMO)/pruned.safetensors --teacher edsr-s-x2 --iterations 1500 --batch 8 \
		--patch 32 --fresh --run-dir $(DEMO)/finetune -o $(DEMO)/tuned.safetensors
	$(SR) export edsr-s-x2 --target onnx -o $(DEMO)/dense.onnx
	$(SR) export edsr-s-x2-p50 --target onnx -o $(DEMO)/shipped.onnx
	$(SR) export $(DEMO)/pruned.safetensors --target onnx -o $(DEMO)/pruned.onnx
	$(SR) export $(DEMO)/tuned.safetensors --target onnx -o $(DEMO)/tuned.onnx
	$(SR) export $(DEMO)/tuned.safetensors --target coreml -o $(DEMO)/tuned.mlpackage
	$(SR) bench $(DEMO)/dense.onnx $(DEMO)/pruned.onnx $(DEMO)/tuned.onnx $(DEMO)/shipped.onnx \
		--eval-data builtin --scale 2 --input 240x160

.PHONY: test
test: $(VENV)/.dev lint  ## Lint, types and all fast tests
	$(FAST)

.PHONY: test-fast
test-fast: $(VENV)/.dev  ## All fast tests, without lint and types
	$(FAST)

# A target for each folder that holds tests; emulated has one of its own.
TEST_FOLDERS := $(filter-out emulated,$(sort \
	$(foreach test,$(wildcard tests/*/test_*.py),$(word 2,$(subst /, ,$(test))))))

.PHONY: $(TEST_FOLDERS:%=test-%)
$(TEST_FOLDERS:%=test-%): test-%: $(VENV)/.dev
	$(FAST) tests/$*

test-%:  ## Fast tests of one folder of tests/: make test-pruning, make test-exporting
	$(error There is no folder of tests named '$*'; known: $(TEST_FOLDERS))

.PHONY: test-python
test-python:  ## All fast tests under another Python, in an environment of its own: make test-python PYTHON=python3.13
	@$(PYTHON) --version >/dev/null 2>&1 || { \
		echo "There is no $(PYTHON) here; install it, or name another: make test-python PYTHON=python3.12" >&2; exit 2; }
	@$(MAKE) --no-print-directory test-fast VENV=.venv-$(patsubst python%,%,$(notdir $(PYTHON)))

.PHONY: check
check: $(VENV)/.dev lint  ## Lint, types and the tests of what differs from main, nearest first, within 90 seconds
	@tests=$$($(BIN)/python benchmarks/tests_of.py --changed) && if [ -n "$$tests" ]; then \
		SRDEPLOY_TEST_SECONDS=40 $(FAST) $$tests; \
		else echo "No test holds what changed."; fi

.PHONY: test-slow
test-slow: $(VENV)/.dev  ## Tests that take minutes
	$(BIN)/pytest -m slow

.PHONY: test-emulated
test-emulated: $(VENV)/.dev  ## Emulated boards and phones (Debian: proot, qemu-user-static, openssh-server); builds the native runner once
	$(BIN)/python -m srdeploy.devices.build_runner --arch aarch64 --arch x86_64
	$(BIN)/pytest -m emulated tests/emulated

# qai-hub wants older versions of much else, hence an environment of its own.
$(VENV)-hosted/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-hosted
	$(VENV)-hosted/bin/pip install --quiet -e '.[dev,hosted,ai-hub]'
	@touch $@

.PHONY: test-hosted
test-hosted: $(VENV)-hosted/.ready  ## Adapters of hosted devices against their own libraries, offline
	$(VENV)-hosted/bin/pytest tests/devices/hosted

# The converter is ours; LiteRT itself, which runs the files, is an extra.
$(VENV)-litert/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-litert
	$(VENV)-litert/bin/pip install --quiet -c constraints.txt -e '.[dev,litert]'
	@touch $@

.PHONY: test-litert
test-litert: $(VENV)-litert/.ready  ## LiteRT: exports, the interpreter and the delegates' lists, in an environment of its own
	OMP_NUM_THREADS=1 $(VENV)-litert/bin/python benchmarks/litert_check.py

.PHONY: gpu-check
gpu-check:  ## Ten minutes on a machine with an NVIDIA GPU and no network: tests, times, a page; PYTHON=python3
	$(PYTHON) benchmarks/gpu_check.py

# What a GPU machine's Python, which has torch, onnxruntime and triton, may lack.
.PHONY: gpu-wheels
gpu-wheels: $(VENV)/.dev  ## Wheels for a GPU machine without a network, into wheels/
	$(BIN)/pip download --quiet --no-deps --dest wheels $$($(BIN)/pip freeze --exclude-editable \
		| grep -iE '^(typer|click|rich|pydantic|pydantic_core|annotated-types|typing-inspection|typing_extensions|safetensors|pillow|PyYAML|onnx|onnxsim|ml_dtypes|protobuf|shellingham|markdown-it-py|mdurl|Pygments|pytest|iniconfig|pluggy|packaging|h5py)==')

.PHONY: test-gpu
test-gpu: $(VENV)/.dev  ## Tests that need an NVIDIA GPU
	$(BIN)/pytest -m gpu

.PHONY: test-browser
test-browser: $(VENV)/.dev  ## Tests of the page in a real browser (needs Chromium and chromedriver)
	$(BIN)/pytest -m browser

.PHONY: lint
lint: $(VENV)/.dev  ## Formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/.mutants: $(VENV)/.dev
	$(BIN)/pip install --quiet -c constraints.txt -e '.[mutants]'
	@touch $@

.PHONY: mutants
mutants: $(VENV)/.mutants  ## Would the tests notice? Small changes, one at a time (half an hour; PATHS=srdeploy/reporting SAMPLE=60 SEED=1)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mutants.py $(PATHS) $(if $(SAMPLE),--sample $(SAMPLE)) \
		$(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: robustness
robustness: $(VENV)/.dev  ## Hostile files, devices and networks, and every format damaged at random (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/robustness.py

.PHONY: zoo
zoo: $(VENV)/.run  ## Train and prune the shipped networks again (about five hours; SRDEPLOY_DATA names the data)
	SRDEPLOY_DATA="$(SRDEPLOY_DATA)" $(BIN)/python benchmarks/make_zoo.py "$(SRDEPLOY_DATA)"

.PHONY: bench
bench: $(VENV)/.run  ## Repeat the committed measurements (SRDEPLOY_DATA names the data)
	$(BIN)/python benchmarks/psnr_table.py "$(SRDEPLOY_DATA)"
	$(BIN)/python benchmarks/pruned_latency.py "$(SRDEPLOY_DATA)"
	$(BIN)/python benchmarks/bad_input.py

.PHONY: bench-all
bench-all: $(VENV)/.dev  ## All pages that speak of time, one after another (2.5 hours on a quiet machine; resumes; SRDEPLOY_DATA names the data)
	$(BIN)/python benchmarks/all_pages.py "$(SRDEPLOY_DATA)"

.PHONY: study
study: $(VENV)/.run  ## Compare the pruning methods (about an hour; resumes; SRDEPLOY_DATA names the data)
	SRDEPLOY_DATA="$(SRDEPLOY_DATA)" $(BIN)/python benchmarks/study.py --data "$(SRDEPLOY_DATA)"

.PHONY: study-controls
study-controls: $(VENV)/.run  ## Why the study comes out as it does: one setting changed at a time (resumes)
	SRDEPLOY_DATA="$(SRDEPLOY_DATA)" $(BIN)/python benchmarks/study.py --data "$(SRDEPLOY_DATA)" --controls

.PHONY: study-reconstruct
study-reconstruct: $(VENV)/.run  ## Compare what the methods reach from a start that is already good (resumes)
	SRDEPLOY_DATA="$(SRDEPLOY_DATA)" $(BIN)/python benchmarks/study.py --data "$(SRDEPLOY_DATA)" --config configs/study-reconstruct.yaml --name study-reconstruct

.PHONY: schema
schema: $(VENV)/.run  ## Write configs/schema.json again
	$(SR) run --schema > configs/schema.json

.PHONY: farm-chaos
farm-chaos: $(VENV)/.dev  ## Prove the farm: 200 fake devices, 5,000 jobs, killed at random; then how it scales
	$(BIN)/python -m benchmarks.farm_chaos
	$(BIN)/python -m benchmarks.farm_chaos --scaling --turn 10
	$(BIN)/python -m benchmarks.farm_chaos --scaling --turn 4 --jobs-each 5

# Tools that build and look, beside what running needs: the command of the built wheel is tried.
$(VENV)/.release: $(VENV)/.run
	$(BIN)/pip install --quiet -c constraints.txt -e '.[release]'
	@touch $@

.PHONY: release
release: $(VENV)/.release test-litert  ## Build wheel and source distribution into dist/, and check what is in them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python benchmarks/check_release.py dist
	$(BIN)/twine check --strict dist/*

.PHONY: lock
lock:  ## Renew constraints.txt from a fresh environment
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet '.[dev,litert,release]'
	(head -3 constraints.txt; .venv-lock/bin/pip freeze | grep -v srdeploy \
		| sed -e 's/+cpu//' -e 's/$$/; python_version >= "3.11"/') > constraints.new
	mv constraints.new constraints.txt
	rm -r .venv-lock

.PHONY: clean
clean:  ## Remove environments, what was built, and all runs
	rm -rf $(VENV) .venv-* build dist runs
