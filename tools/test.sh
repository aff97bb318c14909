#!/bin/sh
# Run the tests with the python on PATH: first all that need nothing special, on every core; then those of made-up udev devices, under
# umockdev-wrapper, because its library has to be loaded before the interpreter starts. Arguments go to the first run.
cd "$(dirname "$0")/.." || exit
status=0

# Most processes of a run do little more than import: without bytecode each of them would compile it all again.
unset PYTHONDONTWRITEBYTECODE
if ! [ -d packages/common/tests/__pycache__ ]; then
    python -m pytest -q --collect-only packages/gpu-driver/tests packages/gaudi-driver/tests packages/qat-driver/tests tests e2e/unit kernel/unit >/dev/null 2>&1 &
    python -m pytest -q --collect-only packages/common/tests >/dev/null 2>&1
    wait
fi

python -m pytest -q -n auto --dist worksteal "$@" || status=1

if command -v umockdev-wrapper >/dev/null; then
    umockdev-wrapper python -m pytest -q -m umockdev || status=1
elif [ -n "${CI-}" ]; then
    echo "FAILED: the udev tests need umockdev, and in CI nothing is left out. Cure: apt-get install -y umockdev" >&2
    status=1
else
    echo "LEFT OUT: the udev tests (pytest -m umockdev) did not run. Cure: sudo apt-get install -y umockdev" >&2
fi
exit "$status"
