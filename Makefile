# A fresh machine needs git, python3 and make; uv and everything else is put into this folder.
#   make demo    the whole pipeline on synthetic cells, offline, some minutes
#   make test    the quick tests, most of them; the slow ones: make test ARGS="-m slow"
#   make check   format, lint, types, layers, docstrings, secrets
#   make wheel   the wheel in a clean environment with the lowest versions it states
#   make docs    the site of docs/ in build/docs; a warning is an error
#   make bench   speed against peers; an hour or two on 2 cores, longer without bf16

UV := $$(python3 tools/get_uv.py)
RUN := $(UV) run --frozen --no-sync
CORES := $(shell python3 -c "import os; print(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())")

# Where Python is told to write no bytecode, every process would compile all of torch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check wheel docs bench sync format clean

sync:
	@echo "Installing what is missing into .venv"
	@UV=$(UV) && $$UV sync --frozen --quiet --all-extras

demo: sync
	@echo "The whole pipeline on drawn cells, offline: cells, three networks, their ensemble, the report"
	@$(RUN) hemoscope demo

# One torch thread a worker: two workers with two threads each would fight for the cores.
test: sync
	@echo "Tests: the quick tier, unless ARGS says otherwise (ARGS='$(ARGS)')"
	@OMP_NUM_THREADS=1 $(RUN) pytest -q -n $(CORES) --dist worksteal -m "not slow and not long" $(ARGS)

check: sync
	@echo "Format" && $(RUN) ruff format --check .
	@echo "Lint, docstrings" && $(RUN) ruff check .
	@echo "Types" && $(RUN) pyright
	@echo "Layers" && $(RUN) lint-imports --no-logo
	@echo "Secrets" && git rev-parse -q --verify HEAD >/dev/null && git ls-files -z | xargs -0 $(RUN) detect-secrets-hook --disable-plugin HexHighEntropyString

wheel:
	@echo "The wheel in a clean environment, with the lowest versions it states: two networks, a report, a bundle, an export"
	@tools/try_wheel.sh

docs:
	@UV=$(UV) && $$UV sync --frozen --quiet --all-extras --group docs
	@echo "The site, into build/docs; a warning is an error"
	@$(RUN) sphinx-build -q -W -n --keep-going -d build/doctrees docs build/docs
	@echo build/docs/index.html

format: sync
	@echo "Mending format and lint, as far as ruff can"
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

bench:
	@echo "Speed against peers: an hour or two on two cores; this machine should do nothing else"
	@UV=$(UV) && $$UV sync --frozen --quiet --all-extras --group bench
	@$(RUN) python benchmarks/startup.py
	@$(RUN) python benchmarks/train.py
	@$(RUN) python benchmarks/predict.py
	@$(RUN) python benchmarks/size.py

clean:
	@echo "Deleting .venv, .uv, demo, runs, report, build and dist"
	@rm -rf .venv .uv demo runs report build dist
