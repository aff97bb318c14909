#!/bin/sh
# Run the tests on each CPython of 3.11-3.13 that this machine has, all of them even if one fails. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
status=0
summary=

pythons=$(tools/pythons.sh)
# None: prepare installs one or says what is missing.
[ -n "$pythons" ] || { tools/prepare.sh --tests && pythons=$(tools/pythons.sh); }

while read -r version python <&3; do
    echo "== CPython $version ($python)"
    tools/prepare.sh --tests "test.py$version" "$python"
    if .venv/bin/hatch run "test.py$version:tools/test.sh" "$@"; then
        summary="$summary $version: ok."
    else
        summary="$summary $version: FAILED."
        status=1
    fi
done 3<<LIST
$pythons
LIST

echo "==$summary"
exit "$status"
