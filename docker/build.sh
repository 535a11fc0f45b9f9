#!/usr/bin/env bash
# Install ackline as the image holds it: a virtual environment with the locked runtime
# dependencies, the program, and nothing else (no pip, no build tools).
#
#   docker/build.sh DEST            build into DEST, which must be empty or absent
#   docker/build.sh --version DEST  print the version of the command installed in DEST
#
# PYTHON names the interpreter (default python3). DEST works where it was built only.
set -euo pipefail

usage() {
    sed -n '5,6s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

build() {
    local dest=$1 source scratch
    if [ -n "$(ls -A "$dest" 2>/dev/null)" ]; then
        echo "$dest is not empty" >&2
        exit 1
    fi
    source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064  # the path of now, not of then
    trap "rm -rf '$scratch'" EXIT

    # The build backend comes from the developer's lock, so it is checked by hash as well.
    "${PYTHON:-python3}" -m venv "$scratch/venv"
    local pip=("$scratch/venv/bin/python" -m pip --disable-pip-version-check)
    "${pip[@]}" install --quiet --require-hashes -r "$source/requirements-dev.lock"
    "${pip[@]}" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$scratch" "$source"

    "${PYTHON:-python3}" -m venv --without-pip "$dest"
    pip+=(--python "$dest/bin/python")
    "${pip[@]}" install --quiet --require-hashes -r "$source/requirements.lock"
    "${pip[@]}" install --quiet --no-deps --no-index "$scratch"/ackline-*.whl
}

version() {
    "$1/bin/ackline" --help >/dev/null # it starts, so nothing that it imports is missing
    "$1/bin/python" -c 'from importlib.metadata import version; print("ackline", version("ackline"))'
}

case "$#:${1:-}" in
    2:--version) version "$2" ;;
    1:-*) usage ;;
    1:*) build "$1" ;;
    *) usage ;;
esac
