#!/bin/sh
# Renews the locked requirements from pyproject.toml (needs uv); the service's carry hashes, none carries an index address.
set -eu
cd "$(dirname "$0")/.."
lock="uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --no-header --no-annotate"
$lock pyproject.toml --extra cpu --generate-hashes --output-file requirements/cpu.txt
$lock pyproject.toml --extra cuda --generate-hashes --output-file requirements/cuda.txt
$lock pyproject.toml --extra cpu --extra training -c requirements/cpu.txt --output-file requirements/training.txt
$lock pyproject.toml --extra cpu --extra training --extra teacher -c requirements/training.txt \
    --output-file requirements/teacher.txt
# What installs this repository itself; `make serve` puts it into the environment, so that pip downloads nothing unpinned.
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml | $lock - -c requirements/training.txt --generate-hashes \
    --output-file requirements/build.txt
# On top of either runtime.
$lock pyproject.toml --extra tracing -c requirements/training.txt --generate-hashes \
    --output-file requirements/tracing.txt
$lock pyproject.toml --extra tables --extra excel -c requirements/training.txt --generate-hashes \
    --output-file requirements/tables.txt
$lock pyproject.toml --extra cpu --extra ray -c requirements/training.txt --generate-hashes \
    --output-file requirements/ray.txt
$lock pyproject.toml requirements/dev.in --extra cpu --extra training --extra teacher --extra tracing --extra tables \
    --extra excel -c requirements/teacher.txt -c requirements/tracing.txt -c requirements/tables.txt \
    --output-file requirements/dev.txt
# What drives a browser in the tests of the page, on top of dev.txt.
$lock requirements/browser.in -c requirements/dev.txt --generate-hashes --output-file requirements/browser.txt
# Each in an environment of its own.
$lock requirements/generator.in --output-file requirements/generator.txt
$lock requirements/clients.in --generate-hashes --output-file requirements/clients.txt
$lock requirements/sbom.in --generate-hashes --output-file requirements/sbom.txt
# torch's wheels name the CUDA packages they need, and its CPU wheels need none: pinned here, both would pull gigabytes.
for file in requirements/training.txt requirements/teacher.txt requirements/dev.txt; do
    grep -vE '^(nvidia-|cuda-|triton==)' "$file" >"$file.new" && mv "$file.new" "$file"
done
