"""``python -m dra_common.testing.apiserver``: the fake API server as a process of its own, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dra_common.testing.apiserver.features import VERSIONS
from dra_common.testing.apiserver.server import FakeApiServer


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve; the URL is the first line on stdout."""
    options = _parser().parse_args(arguments)
    gates = {name: value == "true" for name, _, value in (gate.partition("=") for gate in options.gate)}
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before threads exist, so that none of them takes the signal instead of sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with FakeApiServer(
        port=options.port, version=options.version, feature_gates=gates, token=options.token
    ) as server:
        for name in options.node:
            server.create("Node", {"metadata": {"name": name}})
        if options.kubeconfig:
            server.kubeconfig(options.kubeconfig)
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        signal.sigwait(signals)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dra_common.testing.apiserver", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 = any free port")
    parser.add_argument("--version", choices=VERSIONS, default="1.36", help="the imitated Kubernetes")
    parser.add_argument(
        "--gate", action="append", default=[], metavar="NAME=true|false", help="a feature gate"
    )
    parser.add_argument("--token", help="bearer token that is required")
    parser.add_argument("--node", action="append", default=[], metavar="NAME", help="a Node that exists")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="write a kubeconfig for this server")
    return parser


if __name__ == "__main__":
    main()
