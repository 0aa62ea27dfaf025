#!/bin/sh
# Prints the first of the given Python versions that this machine has: on PATH, or
# in pyenv, which keeps most of its versions off PATH. A shim on PATH may lead
# nowhere, hence the trial run.
set -eu

pyenv=$(command -v pyenv || echo "${HOME:-}/.pyenv/bin/pyenv")
for version in "$@"; do
    for python in \
        "python$version" \
        "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version".*/bin/python \
        "${pyenv%/bin/pyenv}/versions/$version".*/bin/python; do
        if "$python" -c 'import ensurepip, venv' > /dev/null 2>&1; then
            echo "$python"
            exit 0
        fi
    done
done
echo "no Python of $* with its venv module is on PATH or in pyenv;" \
    "'make check' needs one: install it, e.g. with pyenv, and run it again" >&2
exit 1
