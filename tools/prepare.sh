#!/bin/sh
# Make everything a Makefile target needs, and say in a line what is being made. Nothing to make = silence and well under a second.
#
#   tools/prepare.sh [--tests] [ENVIRONMENT [PYTHON]]
#
# --tests: also what only tests need, umockdev and a C compiler.
# ENVIRONMENT is a hatch environment (default: default), PYTHON the interpreter it is made from (default: the newest of 3.11-3.13).
# System packages are installed when this runs as root and apt-get is there; else the line that cures it is printed.
set -eu
cd "$(dirname "$0")/.."

HATCH=hatch==1.18.2
mkdir -p .hatch
log=.hatch/prepare.log

say() { echo "prepare: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# Run a step quietly; if it fails, show the end of what it said.
quietly() {
    "$@" >"$log" 2>&1 && return
    say "this failed: $*"
    tail -n 30 "$log" >&2
    fail "the whole output is in $log"
}

# 1 = it cannot be installed from here.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "apt-get install $*"
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get update -q
    quietly apt-get install -q -y --no-install-recommends "$@"
}

# Versions come from tags. Say it here in one line rather than from the depth of a build.
check_versions() {
    env | grep -q '^SETUPTOOLS_SCM_PRETEND_VERSION' && return
    command -v git >/dev/null || apt_install git || fail "git is missing. Cure: sudo apt-get install -y git"
    git rev-parse --verify -q HEAD >"$log" 2>&1 && return
    cat "$log" >&2
    fail "this folder is not a git checkout with a commit, and versions come from git tags." \
        "Cure: clone the repository, or set SETUPTOOLS_SCM_PRETEND_VERSION=0.1.0"
}

newest() { tools/pythons.sh --newest | cut -d' ' -f2; }

find_python() {
    python=$(newest)
    [ -n "$python" ] || { apt_install python3-venv && python=$(newest); } || true
    [ -n "$python" ] || fail "no CPython 3.11, 3.12 or 3.13 that can make a virtual environment." \
        "Cure on Debian 12 or Ubuntu 24.04: sudo apt-get install -y python3-venv"
}

# .venv holds hatch and nothing else.
make_venv() {
    stamp="$HATCH $python"
    [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/hatch --version >/dev/null 2>&1 && return
    say "hatch in .venv, with $python (once, about 10 s)"
    rm -rf .venv .hatch/default
    quietly "$python" -m venv .venv
    quietly .venv/bin/python -m pip install -q --disable-pip-version-check "$HATCH"
    echo "$stamp" >.venv/stamp
}

# Hatch itself notices changed dependencies. It does not notice a changed script or another interpreter, so the folder is made anew.
make_environment() {
    stamp="$2 $(cat packages/*/pyproject.toml | cksum)"
    [ "$(cat ".hatch/$1.stamp" 2>/dev/null)" = "$stamp" ] && return
    say "hatch environment $1 in .hatch, with $2 (once, about a minute)"
    [ ! -e ".hatch/$1.stamp" ] || quietly .venv/bin/hatch env remove "$1"
    rm -f ".hatch/$1.stamp"
    # Hatch finds an interpreter of a given version on PATH, and one of no given version here.
    quietly env PATH="$(dirname "$2"):$PATH" HATCH_PYTHON="$2" .venv/bin/hatch env create "$1"
    echo "$stamp" >".hatch/$1.stamp"
}

# pyudev opens libudev.so.1; Debian has it unless the system is cut very small.
check_libudev() {
    ldconfig -p 2>/dev/null | grep -q libudev.so.1 && return
    /sbin/ldconfig -p 2>/dev/null | grep -q libudev.so.1 && return
    apt_install libudev1 || say "libudev.so.1 is missing, hot-plug will not work. Cure: sudo apt-get install -y libudev1"
}

# Where they cannot be installed, tools/test.sh says what that means, and the tests that compile something.
check_test_tools() {
    command -v umockdev-wrapper >/dev/null || apt_install umockdev || true
    command -v cc >/dev/null || apt_install gcc libc6-dev || true
}

tests=
[ "${1-}" != --tests ] || { tests=1 && shift; }
check_versions
find_python
make_venv
make_environment "${1-default}" "${2-$python}"
check_libudev
[ -z "$tests" ] || check_test_tools
