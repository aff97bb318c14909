"""``python -m dra_common.testing.benchmark``: a table on stdout; figures as JSON and a profile in a folder."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from dra_common.tables import print_table
from dra_common.testing.benchmark import burst, claims, idle, memory, profile, publish, start
from dra_common.testing.benchmark.figures import HEADER, Figure
from dra_common.testing.benchmark.world import Subject


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and return 0; figures above their target are marked, and fail nothing: machines differ."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    subject = Subject(f"{asked.driver}_driver", f"{asked.driver}.intel.com", asked.profile)
    parts = _parts(subject, asked.rounds)
    if unknown := set(asked.only or ()) - parts.keys():
        parser.error(f"no part {min(unknown)!r} (there are: {', '.join(parts)})")
    figures: list[Figure] = []
    for name in asked.only or parts:
        sys.stderr.write(f"… {name}\n")
        figures += parts[name]()
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = profile.keep(asked.out)
    report = {"machine": _machine(), "figures": [figure.as_dict() for figure in figures]}
    (asked.out / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    if asked.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        print_table(HEADER, [figure.cells() for figure in figures], sys.stdout)
        sys.stderr.write(
            f"figures as JSON: {asked.out / 'bench.json'}; where a prepare's time goes: {kept}\n"
        )
    return 0


def _parts(subject: Subject, rounds: int) -> Mapping[str, Callable[[], Iterator[Figure]]]:
    return {
        "start": lambda: start.measure(subject),
        "memory": lambda: memory.measure(subject),
        "claims": lambda: claims.measure(subject, rounds),
        "publish": publish.measure,
        "uevents": lambda: burst.measure(subject),
        **{name: partial(part, subject) for name, part in _own(subject).items()},
        "idle": lambda: idle.measure(subject),
    }


def _own(subject: Subject) -> Mapping[str, Callable[[Subject], Iterator[Figure]]]:
    """Return what is measured of this driver alone: ``PARTS`` of its module ``benchmark``, if it has one."""
    name = f"{subject.module}.benchmark"
    if not importlib.util.find_spec(name):
        return {}
    found: Mapping[str, Callable[[Subject], Iterator[Figure]]] = importlib.import_module(name).PARTS
    return found


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Measure a driver on a simulated node.")
    parser.add_argument("--driver", default="gpu", help="whose (default: gpu)")
    parser.add_argument("--profile", default="large", help="simulated machine (default: large)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="times that every device is prepared in each case"
    )
    parser.add_argument("--only", action="append", metavar="PART", help="measure this part; may be repeated")
    parser.add_argument(
        "--out", type=Path, default=Path(".bench"), help="folder of bench.json and the profile"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
