"""The whole tier: the tests of guests themselves, and those inside of guests, a guest for each folder of tests.

Half of their time they wait (the kernel takes a second or two to remove VFs), so two of them share a core.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from guest.programs import supervised

A_CORE = 2
GUEST_MB = 2560
"""What one takes of the machine's memory: the guest's own 2 GB, and QEMU."""
MEMINFO = Path("/proc/meminfo")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is run in a process of its own, with its output in a file."""

    name: str
    command: Sequence[str]


def inside(tests: Path) -> dict[str, list[Path]]:
    """Give the tests of each guest: the modules beside the folders, and those of every folder."""
    folders = {path.parent for path in tests.glob("*/test_*.py")}
    found = {folder.name: [folder] for folder in sorted(folders, reverse=True)}
    return found | {tests.name: sorted(tests.glob("test_*.py"))}


def room() -> int:
    """How many guests this machine has cores and free memory for."""
    available = re.search(r"^MemAvailable: +(\d+) kB$", MEMINFO.read_text(), re.MULTILINE)
    fitting = int(available[1]) // (GUEST_MB << 10) if available else 1
    return max(1, min(A_CORE * len(os.sched_getaffinity(0)), fitting))


class Tier:
    """Runs parts, and shows the output of each as a whole when it has ended."""

    def __init__(self, output: Path, say: Say, beside: int = 0) -> None:
        self._output = output
        self._say = say
        self._beside = beside or room()
        self._telling = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def run(self, parts: Sequence[Part]) -> int:
        """Give the highest exit code; nothing of it is left, however this ends."""
        self._output.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self._beside) as pool:
            try:
                return max(pool.map(self._run, parts))
            finally:
                self._end()

    def _run(self, part: Part) -> int:
        log = self._output / f"{part.name}.txt"
        began = time.monotonic()
        with log.open("wb") as file:
            process = self._start(part, file.fileno())
            code = 128 if process is None else process.wait()
        with self._telling:
            self._say(
                f"{part.name}: {'passed' if not code else f'exit code {code}'} after {time.monotonic() - began:.0f} s"
            )
            sys.stdout.write(log.read_text(errors="replace"))
            sys.stdout.flush()
        return abs(code)

    def _start(self, part: Part, stdout: int) -> subprocess.Popen[bytes] | None:
        with self._telling:
            if self._ended:
                return None
            process = subprocess.Popen(
                supervised(part.command), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout
            )
            self._running.add(process)
            return process

    def _end(self) -> None:
        with self._telling:
            self._ended = True
            for process in self._running:
                if process.poll() is None:
                    process.terminate()
