#!/bin/sh
# Print the CPythons 3.13, 3.12 and 3.11 of this machine, newest first, one a line: VERSION PATH. With --newest, only the first.
#
# A candidate counts only if it starts (a pyenv shim may not), is CPython with the GIL (grpcio has no wheels without it) and can make
# virtual environments (on Debian that is the package python3-venv).

probe='
import sys, sysconfig, ensurepip, venv
version = "%d.%d" % sys.version_info[:2]
usable = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
if usable and version == sys.argv[1] and sys.prefix == sys.base_prefix:
    print(version, sys.executable)
'

# What is on PATH comes first, then where pyenv and uv keep what they installed.
candidates() {
    echo "$PATH" | tr ':' '\n' | sed "s|\$|/python$1|"
    echo "$PATH" | tr ':' '\n' | sed "s|\$|/python3|"
    for file in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python"$1" \
        "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-"$1".*/bin/python"$1"; do
        echo "$file"
    done
}

first() {
    candidates "$1" | while read -r python; do
        [ -x "$python" ] || continue
        found=$("$python" -c "$probe" "$1" 2>/dev/null </dev/null) || continue
        [ -z "$found" ] || { echo "$found"; break; }
    done
}

for version in 3.13 3.12 3.11; do
    line=$(first "$version")
    [ -n "$line" ] || continue
    echo "$line"
    [ "$1" != --newest ] || break
done
