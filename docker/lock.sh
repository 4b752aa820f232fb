#!/usr/bin/env bash
# Resolve the locks of the images anew (needs uv), with the versions of requirements.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --constraint requirements.lock "$@"
}

# Open MPI of the image takes the place of the wheel mpich.
compile pyproject.toml --no-emit-package mpich --output-file docker/mpi.lock
compile docker/mpi-build.in --output-file docker/mpi-build.lock

# Without what requirements.lock has already.
mapfile -t known < <(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package=\1/p' requirements.lock)
compile docker/airflow-extra.in "${known[@]}" --output-file docker/airflow-extra.lock
