# Everything a reader of the paper needs; `make` alone explains itself.
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.ready
ALL     := not benchmark and not browser and not cluster
PROFILE ?= laptop
ONLY    ?= all
JOBS    ?=
FRESH   ?=
LAB     ?=

# Set before any process starts: no display, one thread per process, this environment's kernels only.
export MPLBACKEND := Agg
export OMP_NUM_THREADS := 1
# Large tensors come and go in the theory's simulations: glibc would hand their pages back each time, a tenth of the time there.
export MALLOC_TRIM_THRESHOLD_ := 1000000000
export MALLOC_MMAP_THRESHOLD_ := 1000000000
export JUPYTER_PREFER_ENV_PATH := 1
export PYTHONHASHSEED := 0
export CUBLAS_WORKSPACE_CONFIG := :4096:8

TABLES = $(BIN)/fedecho tables --profile $(PROFILE) --only $(ONLY) $(if $(JOBS),--jobs $(JOBS)) $(if $(FRESH),--fresh)
LOWEST = bank distill methods contract models records config figures summary tabular charts latex site notebooks \
  parameters stamps cli sweep processes stats studies custom check data_sources data_splits data_tokens manifest drawings

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup tables test lowest mutants smoke lab paper html browser verify fuzz endurance bench check lint clean

help: ## this text
	@echo "fedecho: FedEcho (arXiv 2511.19966) and its baselines, re-implemented."
	@echo
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'
	@echo
	@echo "  Options: PROFILE=smoke|laptop|paper  ONLY=vision|tuning|...  JOBS=2  FRESH=1 (train again)"

setup: $(STAMP) ## create .venv with the tested versions

# A build of torch without CUDA is a tenth of the download: TORCH_INDEX=https://download.pytorch.org/whl/cpu make setup
# pip compiles modules one by one, compileall on every core; templates that are no Python are left as they are.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	  -c constraints.txt -e '.[notebooks,docs,dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

tables: $(STAMP) ## every table and figure: train what has no record, then write paper/tables and paper/figures
	$(TABLES)

# The slow ones start processes, build a wheel or pages; in one go with the others they share what is read once.
test: $(STAMP) ## the tests, in a process per core (SLOW=1: with those of more than three seconds)
	$(BIN)/python -m pytest -n $(or $(JOBS),auto) $(if $(SLOW),-m "$(ALL)")

# What other packages bring is the newest there is, whose warnings are no matter of the bounds.
lowest: ## the tests that need other packages most, at the lowest versions that pyproject.toml allows
	test -x build/lowest/bin/python || $(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	  -c constraints-lowest.txt -e '.[notebooks,docs,dev]'
	build/lowest/bin/python -m pytest -W default -m "$(ALL)" $(LOWEST:%=tests/test_%.py)

mutants: $(STAMP) ## changes of the numerics that the fast tests do not notice (SAMPLE a module, 0 = all)
	$(BIN)/python -c "import cosmic_ray" 2>/dev/null || $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[mutants]'
	$(BIN)/python -m tests.mutants --sample $(or $(SAMPLE),12)

smoke: $(STAMP) ## every notebook at its smallest scale, trained afresh
	$(BIN)/fedecho tables --profile smoke --fresh

# JupyterLab refuses root unless told; in a container: make lab LAB="--ip=0.0.0.0 --no-browser"
lab: $(STAMP) ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB)

paper: $(STAMP) ## paper/main.pdf and supplement.pdf from every generated table and figure
	@command -v latexmk >/dev/null || { echo "fedecho: latexmk is missing; on Debian: apt-get install latexmk texlive-latex-extra texlive-fonts-recommended lmodern texlive-publishers" >&2; exit 1; }
	$(BIN)/fedecho latex --profile $(PROFILE) --output build/paper
	cd paper && TEXINPUTS=../build/paper: latexmk -pdf -interaction=nonstopmode -halt-on-error -outdir=../build/paper main.tex supplement.tex
	@! grep -HE '^Overfull .[hv]box \(([5-9]|[0-9]{2,})\.|Float too large' build/paper/main.log build/paper/supplement.log \
	  || { echo "fedecho: what is listed above leaves the page" >&2; exit 1; }
	cp build/paper/main.pdf build/paper/supplement.pdf paper/

html: $(STAMP) ## claims, tables, figures and executed notebooks as pages in paper/site, readable offline
	$(TABLES)
	$(BIN)/fedecho site --profile $(PROFILE)

browser: $(STAMP) ## the pages and a notebook in JupyterLab, tried in Chromium
	$(BIN)/python -m pytest -n $(or $(JOBS),auto) -m browser -rs tests/browser

verify: $(STAMP) ## recompute three records drawn at random and compare
	$(BIN)/fedecho verify --sample 3

fuzz: $(STAMP) ## hostile values at every entrance, 500 for each
	FEDECHO_FUZZ=500 $(BIN)/python -m pytest -n $(or $(JOBS),auto) tests/test_fuzz.py tests/test_corpus.py

endurance: $(STAMP) ## kills, flipped bits, signals and hostile inputs, counted (paper/PROMISES.md); a quarter of an hour
	$(BIN)/python -m tests.endurance

bench: $(STAMP) ## what the library adds to bare loops, as ratios of CPU time
	$(BIN)/fedecho bench

check: $(STAMP) ## rebuild every table from its records elsewhere and compare with what is committed
	$(BIN)/fedecho check

lint: $(STAMP) ## ruff, mypy, and notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-id \
	  --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.language_info.version" \
	  notebooks/*.ipynb

clean: ## remove what can be made again (records, custom tables and runs of edited or own code stay)
	test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name custom ! -name edited ! -name own -exec rm -rf {} +
	rm -rf paper/executed paper/site paper/main.pdf paper/supplement.pdf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf paper/records/smoke paper/records/tuning-smoke paper/records/*cifar-smoke paper/records/*resnet-smoke paper/records/*language-smoke paper/records/*generation-smoke paper/tables/smoke paper/figures/smoke paper/claims-smoke.* paper/SHA256SUMS-smoke
