# A fresh machine needs git, python3 and make; uv and everything else is put into this folder.
#   make demo    the whole pipeline on synthetic cells, offline, some minutes
#   make test    the quick tests, most of them; the slow ones: make test ARGS="-m slow"
#   make check   format, lint, types, layers, docstrings
#   make bench   speed against peers; an hour or two on 2 cores, longer without bf16

UV := $$(python3 tools/get_uv.py)
RUN := $(UV) run --frozen --no-sync
CORES := $(shell python3 -c "import os; print(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())")

# Where Python is told to write no bytecode, every process would compile all of torch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench sync format clean

sync:
	@UV=$(UV) && $$UV sync --frozen --quiet --all-extras

demo: sync
	$(RUN) hemoscope demo

# One torch thread a worker: two workers with two threads each would fight for the cores.
test: sync
	OMP_NUM_THREADS=1 $(RUN) pytest -q -n $(CORES) --dist worksteal -m "not slow" $(ARGS)

check: sync
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) pyright
	$(RUN) lint-imports

format: sync
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

bench:
	@UV=$(UV) && $$UV sync --frozen --quiet --all-extras --group bench
	$(RUN) python benchmarks/startup.py
	$(RUN) python benchmarks/train.py
	$(RUN) python benchmarks/predict.py
	$(RUN) python benchmarks/size.py

clean:
	rm -rf .venv .uv demo runs report build dist
