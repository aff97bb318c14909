"""One property of ``make fuzz``, in a process of its own: what goes wrong here ends nobody else.

Prints nothing but what went wrong. How many inputs were checked stands in the file ``--count``, also after a crash.
"""

from __future__ import annotations

import argparse
import importlib
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from properties.base import Property

ROOT = Path(__file__).parent.parent
TESTS = [path for path in sorted(ROOT.glob("packages/*/tests")) if path.is_dir()]
PADDING = bytes(4096)
"""Drawn from when a fuzzer's bytes are used up: the simplest of everything. Else most inputs would come to nothing."""
LONGEST = 4096
SECONDS = 60


def modules() -> Iterator[str]:
    """Yield the names of all modules that may have properties."""
    for tests in TESTS:
        for path in sorted(tests.glob("*properties/*.py")):
            yield f"{path.parent.name}.{path.stem}"


def product() -> list[str]:
    """Return the modules whose branches count: those of the product, not its tests' fakes."""
    sources = [path for path in ROOT.glob("packages/*/src/*/*") if path.name != "testing"]
    return [f"{path.parent.name}.{path.stem}" for path in sources if not path.name.startswith("_")]


def properties() -> dict[str, Property[Any]]:
    """Return every property by its name."""
    sys.path[:0] = [str(tests) for tests in TESTS]
    from properties.base import Property as Kind  # noqa: PLC0415 - after the path, and after atheris

    found = [
        value
        for name in modules()
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, Kind)
    ]
    return {each.name: each for each in found}


class Counter:
    """Counts in a file that another process can read at any time; at ``most`` this process ends."""

    def __init__(self, path: Path, most: int) -> None:
        path.write_bytes(bytes(8))
        with path.open("r+b") as stream:
            self._memory = mmap(stream.fileno(), 8)
        self.count, self._most = 0, most

    def add(self) -> None:
        """One more."""
        self.count += 1
        struct.pack_into("=Q", self._memory, 0, self.count)

    @property
    def done(self) -> bool:
        """Whether that was enough."""
        return self.count >= self._most


def drawing(each: Property[Any], counter: Counter) -> Callable[[bytes], object]:
    """Return what checks one input made of these bytes."""
    if each.raw:

        def check(data: bytes) -> None:
            counter.add()
            each.check(data)

        return check
    draw = each.counted(counter.add).hypothesis.fuzz_one_input
    return lambda data: draw(data + PADDING)


def guided(options: argparse.Namespace) -> None:
    """Let atheris look for bytes that reach new branches. Ends the process."""
    import atheris  # noqa: PLC0415 - only where there is a wheel for it

    with atheris.instrument_imports(include=product()):
        each = properties()[options.target]
    counter = Counter(options.count, options.runs)
    check = drawing(each, counter)

    def run(data: bytes) -> None:
        check(data)
        if counter.done:
            os._exit(0)

    for number, seed in enumerate(each.seeds):
        (options.corpus / f"seed-{number}").write_bytes(seed[:LONGEST])
    flags = [
        "-runs=-1",
        f"-seed={options.seed + 1}",
        f"-max_len={LONGEST}",
        f"-timeout={SECONDS}",
        f"-artifact_prefix={options.findings}/{options.target}-",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *flags, str(options.corpus)], run)
    atheris.Fuzz()


def unguided(options: argparse.Namespace) -> None:
    """Let hypothesis draw inputs, in parts with a seed each, so that none remembers all before it."""
    from hypothesis import HealthCheck, settings  # noqa: PLC0415 - atheris goes first

    each = properties()[options.target]
    counter = Counter(options.count, options.runs)
    part = options.seed * 1_000_000
    while not counter.done:
        part += 1
        whole = settings(
            max_examples=each.chunk,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        each.run(part, whole, counter.add)


@contextmanager
def quiet() -> Iterator[None]:
    """Nobody reads the product's log here."""
    import logging  # noqa: PLC0415 - see above

    logging.disable()
    yield


def main() -> None:
    """Check a target until enough inputs were tried, or once for one input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--count", type=Path, default=Path(os.devnull))
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--findings", type=Path)
    parser.add_argument("--input", type=Path)
    options = parser.parse_args()
    with quiet():
        if options.input:
            each = properties()[options.target]
            data = options.input.read_bytes()
            each.check(data) if each.raw else each.test().hypothesis.fuzz_one_input(data + PADDING)
        else:
            (guided if options.guided else unguided)(options)


if __name__ == "__main__":
    main()
