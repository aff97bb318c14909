"""``python -m bench``: a table on stdout, progress on stderr, the figures as JSON in a folder."""

import argparse
import fcntl
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dra_common.tables import print_table
from dra_common.testing.benchmark.figures import Figure
from harness.checks import check_machine
from harness.errors import HarnessError
from harness.settings import DEFAULT_MINOR, OUTPUT, Settings, minors, switches
from harness.tools import tools

from bench import floors, footprint, latency, neighbours, pods, start, storm
from bench.rows import HEADER, as_dict, cells
from bench.world import World, world

# In this order: the resident size first, while the driver has done nothing yet.
PARTS: Mapping[str, Callable[[World], Iterator[Figure]]] = {
    "footprint": footprint.measure,
    "floors": floors.measure,
    "latency": latency.measure,
    "storm": storm.measure,
    "pods": pods.measure,
    "start": start.measure,
}
FOLDER = OUTPUT / "bench"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 whatever the figures are, 1 with one line if they cannot be had."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        check_machine()
        with _alone(asked.out):
            before = _look()
            figures = list(_measure(asked))
            _report(asked, {"busy before": before, "busy after": _look()}, figures)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (HarnessError, OSError) as error:
        say(f"bench: {error}")
        return 1
    return 0


def say(text: str) -> None:
    """Tell the user how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one that measures into this folder. Raises ``HarnessError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise HarnessError(
            f"cannot write into {folder}: {error.strerror}", cure="name another folder with --out"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HarnessError(
                f"another run measures into {folder}", cure="wait for it; two at once measure each other"
            ) from None
        yield


def _look() -> float:
    """Return how busy others are, while there is no cluster, in percent; a warning if that spoils the figures."""
    busy = neighbours.busy_percent()
    if said := neighbours.warning(busy):
        say(f"bench: {said}")
    return round(busy, 1)


def _measure(asked: argparse.Namespace) -> Iterator[Figure]:
    gates, served = (switches(os.environ.get(name, "")) for name in ("GATES", "SERVED"))
    built = tools(asked.k8s, say)
    say(f"… a cluster of Kubernetes {asked.k8s} with the driver")
    with world(Settings(built.programs, built.images, asked.out / "logs", gates, served), asked.out) as here:
        for name in (part for part in PARTS if part in (asked.only or PARTS)):
            say(f"… {name}")
            yield from PARTS[name](here)
        say("… the end of the cluster")


def _report(asked: argparse.Namespace, busy: Mapping[str, float], figures: Sequence[Figure]) -> None:
    report = {"machine": {**_machine(asked.k8s), **busy}, "figures": [as_dict(figure) for figure in figures]}
    kept = asked.out / "bench.json"
    kept.write_text(json.dumps(report, indent=2) + "\n")
    if asked.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        print_table(HEADER, [cells(figure) for figure in figures], sys.stdout)
        say(f"figures as JSON: {kept}")


def _machine(minor: str) -> dict[str, object]:
    return {
        "kubernetes": minor,
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the GPU driver on a real Kubernetes.")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given again")
    parser.add_argument(
        "--k8s", default=os.environ.get("K8S") or DEFAULT_MINOR, choices=minors(), help="its version"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of bench.json and logs, on a disk")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
