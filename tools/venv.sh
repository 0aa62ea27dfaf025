#!/bin/sh
# Makes a virtual environment afresh and installs into it:
# tools/venv.sh FOLDER PYTHON PIP-ARGUMENTS...
set -eu

folder=$1
python=$2
shift 2
"$python" - <<'EOP'
import sys

if sys.version_info < (3, 11):
    sys.exit(
        f"ddpm_jax needs Python 3.11 or later, {sys.executable} is "
        f"{sys.version.split()[0]}: choose another, e.g. make PYTHON=python3.12 test"
    )
EOP
echo "installing into $folder (a minute or two)"
rm -rf "$folder"
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet "$@"
