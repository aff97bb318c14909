"""A statement about every input: checked by a short hypothesis test, and by a fuzzer for as long as it is given."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

DEEP = b'{"record":' * 50_000
"""JSON without end: Python's parser gives up on it with an error of its own."""


@dataclass(frozen=True)
class Property(Generic[T]):
    """``check`` raises nothing for any of ``inputs``, but what it names as allowed.

    Args:
        inputs: strategy of inputs. A fuzzer chooses the bytes from which it draws; if they are bytes themselves
            (``raw``), it hands its own to ``check`` directly.
        guided: whether the branches that an input reaches tell a fuzzer which to try next; they do not where the work
            is done in other threads, or input by input on one growing state.
        seeds: inputs to begin with, of a property of bytes.
        chunk: how many are drawn with one seed, unless it is guided.
        examples: how many a test of some seconds can afford.
    """

    name: str
    inputs: SearchStrategy[T]
    check: Callable[[T], object]
    seeds: tuple[bytes, ...] = ()
    examples: int = 200
    raw: bool = False
    guided: bool = True
    chunk: int = 500

    def test(self) -> Any:
        """Return the hypothesis test."""
        return self.counted(lambda: None)

    def counted(self, count: Callable[[], None]) -> Any:
        """Return the hypothesis test, which tells of each input."""

        def holds(given_input: T) -> None:
            count()
            self.check(given_input)

        return given(self.inputs)(holds)

    def run(self, part: int, whole: settings, count: Callable[[], None]) -> None:
        """Check what hypothesis draws with the seed ``part``."""
        seed(part)(whole(self.counted(count)))()

    def hold(self) -> None:
        """Check some inputs, always the same ones."""
        quick = settings(
            max_examples=self.examples,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        quick(self.test())()


def fast_folder() -> Path:
    """Return a new folder, in memory if possible: what is tested waits for the disk at every step."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="dra", dir=memory if os.access(memory, os.W_OK) else None))


def damaged(seeds: tuple[bytes, ...]) -> SearchStrategy[bytes]:
    """Bytes of any kind, and good ones of which a part was replaced."""

    def replaced(seed: bytes, start: int, length: int, new: bytes) -> bytes:
        start %= len(seed) + 1
        return seed[:start] + new + seed[start + length :]

    changes = st.builds(
        replaced, st.sampled_from(seeds), st.integers(0, 5000), st.integers(0, 8), st.binary(max_size=8)
    )
    return st.binary(max_size=200) | st.sampled_from(seeds) | changes


def json_like(keys: tuple[str, ...], values: tuple[Any, ...] = ()) -> SearchStrategy[Any]:
    """JSON whose names and values are often those that mean something."""
    known = [st.sampled_from(values)] if values else []
    scalars = st.one_of(
        *known, st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=9)
    )
    names = st.sampled_from(keys) | st.text(max_size=5)
    return st.recursive(
        scalars,
        lambda below: st.lists(below, max_size=4) | st.dictionaries(names, below, max_size=6),
        max_leaves=12,
    )


def parsed(data: bytes) -> Any:
    """Return the JSON in ``data``, None if it is none: only what gets past the parser is of interest."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
