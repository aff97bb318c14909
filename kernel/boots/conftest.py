"""Real guests, started and ended in every way: `make test-kernel` runs these on the machine, not in a guest."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guest.cache import Cache, cache_folder
from guest.parts import Parts, find

DEADLINE = 90.0


@pytest.fixture(scope="session")
def parts() -> Parts:
    return find(Cache(cache_folder()), lambda _: None)


@pytest.fixture
def until() -> Callable[[Callable[[], bool], str], None]:
    """Wait for a condition."""

    def until_(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}"
            time.sleep(0.05)

    return until_


@pytest.fixture
def output(tmp_path: Path, until: Callable[[Callable[[], bool], str], None]) -> Iterator[Path]:
    """Give a folder for a guest's output, and see to it that no process that knows it is left."""
    yield tmp_path / "output"
    until(lambda: not _processes(tmp_path), "QEMU to be gone")


def _processes(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes()
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            continue
        if b"qemu-system" in words and str(folder).encode() in words:
            found.append(process.name)
    return found
