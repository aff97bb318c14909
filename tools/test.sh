#!/bin/sh
# Run the tests with the python on PATH: first all that need nothing special, on every core; then those of made-up udev devices, under
# umockdev-wrapper, because its library has to be loaded before the interpreter starts. Arguments go to the first run.
cd "$(dirname "$0")/.." || exit
status=0

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
