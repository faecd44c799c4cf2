#!/usr/bin/env bash
# Pin what pyproject.toml names, for Python 3.11 and newer on every platform: make lock. It keeps the versions that are
# pinned already; "make lock UPGRADE=--upgrade" takes the newest ones, except torch's.
#
#   constraints.txt       every package, without hashes: for "pip install -c constraints.txt ..."
#   requirements/run.txt  what skdcgn imports, with the hash of every file: for "pip install --require-hashes -r ..."
#   requirements/dev.txt  what the extras add to it
#
# torch and its CUDA libraries are in constraints.txt alone: torch's file differs with platform and build (CPU, CUDA, ROCm).
set -euo pipefail
cd "$(dirname "$0")/.."
uv=(uv pip compile "$@" --quiet --universal --python-version 3.11 --no-header --no-annotate pyproject.toml)
omit() { sed -nE "s/^($1)==.*/--no-emit-package \1/p"; }

torch=$(mktemp)
trap 'rm -f "$torch"' EXIT
grep '^torch==' constraints.txt > "$torch"
"${uv[@]}" --all-extras --group release --constraints "$torch" -o constraints.txt
cuda=$(omit 'torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+' < constraints.txt)
# shellcheck disable=SC2086 # each line of $cuda and $run is two words
"${uv[@]}" --constraints constraints.txt --generate-hashes $cuda -o requirements/run.txt
# A package that only the extras need on some platform stays in dev.txt: its line in constraints.txt is another one.
run=$(sed 's/ \\$//' requirements/run.txt | grep -Fxf constraints.txt | omit '[a-z0-9-]+')
# shellcheck disable=SC2086
"${uv[@]}" --constraints constraints.txt --generate-hashes --all-extras $cuda $run -o requirements/dev.txt
