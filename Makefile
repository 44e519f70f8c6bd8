# Bongsu: `make` alone says what can be made. Every target sets up what it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
DEV    := $(VENV)/.dev
DOCS   := .venv-docs
PORT   ?= 8080

.DEFAULT_GOAL := help
.PHONY: help run test coverage docs lint generate format bench chaos clean train evaluate bench-detect bench-sessions bench-fleet test-train bench-motion bench-cameras

help: ## Show this help
	@echo "Bongsu watches CCTV and alerts people. Targets:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo "Your own cameras: cp cameras.example.yaml cameras.yaml, edit it, make run CAMERAS=cameras.yaml"

run: $(STAMP) ## Run the whole pipeline here: demo cameras, or CAMERAS=cameras.yaml
	@$(BIN)/bongsu run --port $(PORT) $(if $(CAMERAS),--cameras '$(subst ','\'',$(CAMERAS))',--demo)

test: $(DEV) ## Run all tests
	@sh tests/services.sh
	$(BIN)/python -m pytest $(ARGS)

COVERED ?= tests/functions tests/notify tests/examples

coverage: $(DEV) ## Measure what the tests of SDK and functions cover; fails under the floor in pyproject.toml
	@sh tests/services.sh
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(COVERED) $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --sort=cover

docs: $(DOCS)/.ready ## Build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --quiet
	@echo "Open build/site/index.html"

lint: $(DEV) ## Check style, wording, types and the rooms' import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/wording.py
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py examples/telegram/*.py
	$(BIN)/lint-imports --no-cache

generate: $(DEV) ## Write queues and hazards into manifests and docs
	$(BIN)/python tools/generate.py

format: $(DEV) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## Measure, and print the tables of docs/benchmarks.md
	$(BIN)/python -m bench

bench-motion: $(DEV) ## Measure motion: cost, and with CLIPS=folder with video/ the gate and its peers on labelled clips
	$(BIN)/python -m bench motion
	$(if $(CLIPS),BONGSU_DATA=$(CLIPS) $(BIN)/python -m bench.gate --sensitivity 0.5 0.1 0.2 0.35 0.65 0.8 --variants build/variants --curve docs/motion-curve.svg $(ARGS))
	$(if $(CLIPS),BONGSU_DATA=$(CLIPS) $(BIN)/python -m bench.keyframes build/variants)

bench-cameras: $(DEV) ## Measure motion with many RTSP cameras in one process: CAMERAS="1 10 30 100"
	$(BIN)/python -m bench.cameras --cameras $(or $(CAMERAS),1 10 30 100) $(ARGS)

bench-sessions: $(DEV) ## Measure sessions as clients see them, beside a direct WebSocket to the same model
	$(BIN)/python -m bench.sessions $(ARGS)

bench-fleet: $(DEV) ## Measure distribution to nodes in network namespaces, beside rsync: NODES=50; needs root
	$(BIN)/python -m bench.fleet --nodes $(or $(NODES),50) $(ARGS)

DATA    ?=
DEVICE  ?= cpu
RUN     ?= runs/hazard
TRAIN   := .venv-train
UNSEEN  ?= $(wildcard $(DATA)_extra)
WEIGHTS ?=
LOOKS   ?=

train: $(TRAIN)/.ready ## Train the hazard network: DATA=corpus DEVICE=cpu|0 (docs/detector.md)
	@test -n "$(DATA)" || { echo "Say where the labelled pictures are: make train DATA=FOLDER (docs/detector.md)"; exit 1; }
	$(TRAIN)/bin/python -m detect.training.train $(DATA) --device $(DEVICE) --run $(RUN) $(ARGS)

evaluate: $(DEV) ## Measure the network on labelled pictures: DATA=corpus UNSEEN=corpora LOOKS=corpora WEIGHTS=file CLIPS=folder with video/
	@test -n "$(DATA)" || { echo "Say where the labelled pictures are: make evaluate DATA=FOLDER (docs/detector.md)"; exit 1; }
	$(BIN)/python -m detect.training.evaluate $(DATA) $(if $(UNSEEN),--unseen $(UNSEEN)) $(if $(LOOKS),--looks $(LOOKS)) $(if $(WEIGHTS),--weights $(WEIGHTS)) --out runs/scores.md $(ARGS)
	$(if $(CLIPS),BONGSU_DATA=$(CLIPS) $(BIN)/python -m bench.confirm --starts 8 $(if $(WEIGHTS),--weights $(WEIGHTS)) --out runs/scores.md)

bench-detect: $(TRAIN)/.ready ## Time the detector against ultralytics, in one run
	$(TRAIN)/bin/python -m bench.detect_speed $(ARGS)

test-train: $(TRAIN)/.ready ## Run the tests that need torch
	$(TRAIN)/bin/python -m pytest -m torch tests/detect tests/models $(ARGS)

include k8s/deploy.mk

chaos: $(DEV) ## Break real servers and workers at random, and count what is lost or doubled (nothing may be)
	@sh tests/services.sh
	$(BIN)/python -m bench.chaos $(ARGS)

clean: ## Remove the virtual environment, caches and the state of `make run`
	rm -rf $(VENV) $(TRAIN) $(DOCS) state build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# constraints.txt pins every version, so that each machine gets what was tested and none gets torch with CUDA.
$(STAMP): Makefile pyproject.toml constraints.txt
	@echo "Setting up $(VENV): Python packages, a minute or two the first time ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian, apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[motion,discover,detect,notify,api,post,push,mqtt,caption,fleet,sessions,local]'
	@touch $@

$(DEV): $(STAMP)
	@echo "Setting up $(VENV): tools for tests and checks ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[motion,discover,detect,openvino,notify,api,post,push,mqtt,caption,fleet,sessions,local,mysql,bootstrap,dev]'
	@touch $@

# The site's generator and its theme are needed by nothing else.
$(DOCS)/.ready: docs/requirements.txt
	@echo "Setting up $(DOCS): the generator of the documentation ..."
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS) || { echo "python3 -m venv failed: on Debian, apt-get install python3-venv"; exit 1; }
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement docs/requirements.txt
	@touch $@

# torch is 1.4 GB and needed by nobody who only runs Bongsu, so it has an environment of its own.
$(TRAIN)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(TRAIN): torch and ultralytics, some minutes the first time ..."
	@test -x $(TRAIN)/bin/python || $(PYTHON) -m venv $(TRAIN) || { echo "python3 -m venv failed: on Debian, apt-get install python3-venv"; exit 1; }
	@$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[motion,detect,openvino,train]' pytest pytest-asyncio pytest-timeout cryptography
	@touch $@
