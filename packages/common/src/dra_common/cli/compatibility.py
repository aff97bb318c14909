"""Options of the Go drivers that mean nothing here: accepted, so that their DaemonSets start, and warned about once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_LIMIT = "requests to the API server are not limited on this side"
_LINES = "every line is written to standard error at once"

IGNORED: Mapping[str, str] = {
    "--kube-api-qps": _LIMIT,
    "--kube-api-burst": _LIMIT,
    "--vmodule": "verbosity by file is klog's",
    "--log-flush-frequency": _LINES,
    "--log-text-split-stream": _LINES,
    "--log-text-info-buffer-size": _LINES,
    "--log-json-split-stream": _LINES,
    "--log-json-info-buffer-size": _LINES,
    "--feature-gates": "what the API server supports is found out",
}
"""Option -> why it has no effect."""

SWITCHES: Mapping[str, str] = {
    "-m": "--health-monitoring",
    "-o": "--health-monitoring-optional",
    "-w": "--ignore-health-warning",
}
"""Switches of the Go drivers by their short names; Go also takes a value: ``--health-monitoring=false``."""

_OFF = {name: long.replace("--", "--no-", 1) for short, long in SWITCHES.items() for name in (short, long)}
"""Each name that turns a switch on -> the one that turns it off."""

_ONE_DASH = re.compile(r"-[a-z][-a-z]+")

_SWITCHES = frozenset({"--log-text-split-stream", "--log-json-split-stream"})
"""Those that Go takes without a value."""


_TRUTHS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
"""What Go's ``strconv.ParseBool`` understands, in any case."""


def strip_ignored(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the ignored options, with their values, out of ``arguments``; returns what remains and their names.

    Also understands what Go does: ``-node-name`` for ``--node-name``, ``-v=4`` for ``-v 4``, and ``=false`` behind a
    switch.
    """
    kept: list[str] = []
    ignored: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if _ONE_DASH.fullmatch(name):
            name = f"-{name}"
        if name in IGNORED:
            ignored.append(name)
            if not equals and name not in _SWITCHES:
                next(rest, None)
        elif name == "-v" and equals:
            kept += [name, value]
        else:
            kept.append(_plain(f"{name}{equals}{value}", _OFF))
    return kept, ignored


def plain_switches(arguments: Sequence[str], switches: Mapping[str, str]) -> list[str]:
    """Return ``arguments`` with Go's ``--switch=false`` as ``--no-switch``, and ``--switch=true`` as ``--switch``.

    ``switches`` has the name that turns one on -> the one that turns it off.
    """
    return [_plain(argument, switches) for argument in arguments]


def _plain(argument: str, switches: Mapping[str, str]) -> str:
    name, equals, value = argument.partition("=")
    if not equals or name not in switches or value.lower() not in _TRUTHS:
        return argument
    return name if _TRUTHS[value.lower()] else switches[name]


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of set environment variables that have no effect."""
    return [name for name in map(variable, IGNORED) if environment.get(name)]


def variable(option: str) -> str:
    """Return the environment variable of an option: ``--kube-api-qps`` -> ``KUBE_API_QPS``."""
    return option.removeprefix("--").upper().replace("-", "_")


def warning(names: Sequence[str]) -> str:
    """Return the one line that says that ``names`` are without effect."""
    return f"accepted for compatibility, without effect: {', '.join(dict.fromkeys(names))}"


def epilog() -> str:
    """Return the paragraph of ``run --help`` about them."""
    listed = ", ".join(f"{name} ({why})" for name, why in IGNORED.items())
    return f"Accepted for compatibility, without effect: {listed}"
