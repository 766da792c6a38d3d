# `make` prints this list. Every target is one plain command; `make -n <target>` shows it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The GPU targets install nothing: they use the environment of `make setup` if there is one, else $(PYTHON).
GPU_PYTHON ?= $(firstword $(wildcard $(BIN)/python) $(PYTHON))
DEMO   := runs/demo
STAGE ?= check
OUT   ?= runs/campaign
SECONDS ?= 210

# Without bytecode, which some images turn off, every process compiles all that it imports anew: 4 s with torch.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-gpu bench bench-gpu campaign cov format lint type spell check docs build clean

help: ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

# A venv comes with the pip of its Python; a recent one installs in half of the time. Modules are compiled when they are
# first imported, which most of them never are.
$(BIN)/pkdn: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --disable-pip-version-check --quiet --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(BIN)/pkdn ## create the environment in .venv

demo: setup ## train a small teacher and two students on the included portraits, on CPU, and show table and pictures
	rm -rf $(DEMO)
	$(BIN)/pkdn train -m experiment=demo objective=distillation_warm_start,reconstruction launch=joblib \
		paths.runs=$(DEMO) hydra.sweep.dir=$(DEMO)/students
	$(BIN)/pkdn evaluate data=portraits run_dir=$(DEMO)/table models.plain=$(DEMO)/students/objective-reconstruction \
		models.distilled=$(DEMO)/students/objective-distillation_warm_start models.teacher=$$(ls -d $(DEMO)/teacher_portraits/auto-*)
	@echo "The faces: $(DEMO)/table/grid_portraits.png. The students restore eyes, mouth and hair that bicubic blurs; the"
	@echo "teacher, which also reads the parsing map of the true face, is sharper; in minutes, learning from it neither gains nor costs."

test: setup ## run the default tests (CPU, no network)
	$(BIN)/python -m pytest -q -n auto --dist worksteal --nbmake notebooks tests

test-slow: setup ## run the tests that take longer
	$(BIN)/python -m pytest -q -m slow --nbmake notebooks tests

test-gpu: ## run the tests that need a GPU; with GPU_PYTHON=python3 in an environment of your own, offline
	PYTHONPATH=$(CURDIR)/src:$(PYTHONPATH) $(GPU_PYTHON) -m pytest -q -m gpu tests/gpu

bench: setup ## measure every claim of speed beside its target, on this CPU (half an hour)
	$(BIN)/python benchmarks/all.py

bench-gpu: ## the claims that need a GPU; GPU_PYTHON as for test-gpu
	PYTHONPATH=$(CURDIR)/src:$(PYTHONPATH) $(GPU_PYTHON) benchmarks/gpu.py

campaign: ## checks (STAGE=check) or trainings (STAGE=train) for SECONDS on a GPU, into OUT; GPU_PYTHON as for test-gpu
	PYTHONPATH=$(CURDIR)/src:$(PYTHONPATH) $(GPU_PYTHON) experiments/campaign.py $(STAGE) --out $(OUT) \
		--seconds $(SECONDS) $(if $(FACES),--faces $(abspath $(FACES))) $(if $(OVERRIDES),-- $(OVERRIDES))

cov: setup ## run the default tests with coverage
	$(BIN)/python -m pytest -q --cov=pkdn_lightning --cov-report=term-missing:skip-covered

format: setup ## format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup ## check style, layers, and that notebooks hold no outputs
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports
	$(BIN)/nbstripout --verify notebooks/*.ipynb

type: setup ## check types
	$(BIN)/mypy

spell: setup ## check spelling
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md benchmarks conf docs experiments src tests

check: lint type spell test ## everything a change has to pass

docs: setup ## build the documentation site into site/
	$(BIN)/mkdocs build --strict

build: setup ## build wheel and sdist into dist/
	$(BIN)/python -m build

clean: ## remove what tools left (never stores or runs)
	rm -rf build dist site .pytest_cache .ruff_cache .mypy_cache .coverage
