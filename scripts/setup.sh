#!/usr/bin/env bash
# Make .venv from requirements.lock: python3 and its venv module are enough, no compiler, no uv.
# Done already, for the same lock and the same Python: returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    local candidate
    local candidates=(python3 python3.13 python3.12 python3.11)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: tbseg needs Python 3.11, 3.12 or 3.13; found $("${candidates[0]}" --version 2>&1 || true)" >&2
    echo "  mend: install one of them, or name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
}

# From the environment pip takes only how to reach an index, not what to install or where:
# hashes decide what is installed.
for name in $(compgen -e PIP_ || true); do
    case "$name" in
        PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_FIND_LINKS | PIP_PROXY | PIP_CERT) ;;
        PIP_CLIENT_CERT | PIP_TRUSTED_HOST | PIP_*TIMEOUT | PIP_RETRIES | PIP_CACHE_DIR) ;;
        PIP_CONFIG_FILE | PIP_KEYRING_PROVIDER | PIP_NO_CACHE_DIR) ;;
        *) unset "$name" ;;
    esac
done
unset PYTHONPATH PYTHONHOME

python=$(find_python)
version=$("$python" -c 'import sys; print(sys.version)')
files=(requirements.lock pyproject.toml scripts/setup.sh)
stamp=.venv/.tbseg-ready
# The path is part of it: an environment that was moved does not work.
wanted="$(cat "${files[@]}" | sha256sum) $version $PWD"

if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
    echo "Making .venv with Python ${version%% *}: about 800 MB, some minutes the first time."
    keep=$(.venv/bin/python -c 'import sys; print(sys.version)' 2>/dev/null || true)
    if [[ $keep == "$version" && (! -f $stamp || $(<"$stamp") == *" $PWD") ]]; then
        clear=""
    else
        clear="--clear"
    fi
    if ! "$python" -m venv $clear .venv; then
        echo "error: the venv module of $python is missing or broken" >&2
        echo "  mend: apt-get install python3-venv (Debian, Ubuntu), then make setup again" >&2
        exit 1
    fi
    pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
    "${pip[@]}" install --quiet --no-user --no-deps --require-hashes --no-compile -r requirements.lock
    # Compiled once here: otherwise each process would do it again where .pyc files are not written.
    .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null || true
    "${pip[@]}" install --quiet --no-user --no-deps --no-build-isolation --editable .
    "${pip[@]}" check
    echo "$wanted" >"$stamp"
fi
touch "$stamp"
# What is ours, too: who runs it may not be allowed to write here, and would compile it each time.
.venv/bin/python -m compileall -q config dags plugins scripts tbseg_ops >/dev/null || true
.venv/bin/python -m scripts.home
