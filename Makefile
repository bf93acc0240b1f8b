# The whole project from a terminal. `make demo` and `make test` need Python >= 3.10 and nothing else; both set up .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready
DEMO_STEPS ?= 300
YOLOS_STEPS = $$((2 * $(DEMO_STEPS)))  # of half the images: a matching that changes from step to step teaches slowly
NUMBA_TESTS := losses segmentation_criterion atss simota task_aligned task_aligned_criterion max_iou nms decode linear_assignment hungarian set_criterion east_encoder db_encoder locality_aware_nms decode_east

.PHONY: demo test check bench growth peers docs study-segmentation study-detection study-east learn-by-heart no-numba mutants wheel clean

demo: $(READY)  ## train a segmentation, a dense detector, YOLOS and EAST on the samples, and write a page of each
	@rm -rf runs/demo runs/demo-detect runs/demo-yolos runs/demo-text
	$(BIN)/matchloss train segment --data samples/nuclei --out runs/demo --steps $(DEMO_STEPS) --accelerator cpu
	$(BIN)/matchloss train detect --data samples/bccd --out runs/demo-detect --steps $(DEMO_STEPS) --accelerator cpu
	$(BIN)/matchloss explain runs/demo-detect BloodImage_00017 --out runs/demo-detect/explain.png
	$(BIN)/matchloss train detect --model yolos --data samples/bccd --out runs/demo-yolos \
		--steps $(YOLOS_STEPS) --accelerator cpu
	$(BIN)/matchloss explain runs/demo-yolos BloodImage_00017 --out runs/demo-yolos/explain.png
	$(BIN)/matchloss train text --data samples/icdar2015 --out runs/demo-text --steps $(DEMO_STEPS) --accelerator cpu
	@echo "Open runs/demo/index.html, and those of runs/demo-detect, demo-yolos and demo-text, in a browser."

test: $(READY)  ## every law, story, parity and doctest
	$(BIN)/python -m pytest -q -n auto
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -q -n auto tests/cuda

check: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

no-numba: $(READY)  ## what has a numba twin again with numba hidden, as on a Python without its wheel
	PYTHONPATH=tests $(BIN)/python -m pytest -q -n auto -p no_numba $(NUMBA_TESTS:%=tests/test_%.py)

mutants: $(READY)  ## plant faults and see that the tests catch them, some ten minutes
	$(BIN)/python tests/mutants.py

wheel: $(READY)  ## build it, and import what is in it
	@rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python tests/check_wheel.py dist/matchloss-*.whl

bench: $(PEERS_READY)  ## times, memory and operators beside the peers, into benchmarks/results; some ten minutes
	$(PEERS)/bin/matchloss bench --peers --json benchmarks/results/bench_cpu.json

growth: $(PEERS_READY)  ## how time and memory grow with sizes, into benchmarks/results; some five minutes
	$(PEERS)/bin/python benchmarks/growth.py

peers: $(PEERS_READY)  ## what `make bench` times ours beside, in an environment of their own

study-segmentation: $(READY)  ## losses compared over seeds, about half an hour; goes on where it stopped
	$(BIN)/python benchmarks/study_segmentation.py

study-detection: $(PEERS_READY)  ## our criterion and Ultralytics' on one detector
	$(PEERS)/bin/python benchmarks/study_detection.py

study-east: $(READY)  ## EAST's score losses compared over seeds, some twenty minutes; goes on where it stopped
	$(BIN)/python benchmarks/study_east.py

learn-by-heart: $(READY)  ## eight images by each model that predicts a set, some twenty minutes
	$(BIN)/python benchmarks/learn_by_heart.py

docs: $(READY)  ## the pages, into site/
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) $(PEERS) runs site build dist

# The environments: torch first and pinned, so that no other package replaces it with another build.
$(READY): pyproject.toml constraints.txt
	@$(call new_environment,$(VENV))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(PEERS_READY): pyproject.toml constraints.txt benchmarks/peers.txt
	@$(call new_environment,$(PEERS))
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' -r benchmarks/peers.txt
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check lanms-neo \
		|| echo "left out: lanms-neo, the C++ of EAST's authors, which wants a compiler"
	@touch $@

define new_environment
	command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.10 or newer, or say make PYTHON=..."; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: Python 3.10 or newer is needed, found $$($(PYTHON) -V)"; exit 1; }; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv; on Debian or Ubuntu: apt install python3-venv"; exit 1; }; \
	echo "Setting up $(1) (a few minutes, once) ..."; \
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1) || exit 1; \
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
endef
