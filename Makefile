# make run: install into .venv and do the main job; make test: checks and tests; make docs: the site, into build/site.
# All work from a bare clone.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check docs clean

run: .venv/installed
	$(BIN)/skdcgn run

# A thread for each worker: together they are as many as there are cores.
test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto

check: .venv/developed
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

# Strict: a broken link, an unknown name or a failing notebook is an error. make test builds the site too (test_docs.py).
docs: .venv/developed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo 'open build/site/index.html, or serve it with its search: $(BIN)/mkdocs serve'

# torch first and pinned: a later resolution would fetch a CUDA build of several GB.
.venv/torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch
	touch $@

.venv/installed: .venv/torch pyproject.toml
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

.venv/developed: .venv/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
