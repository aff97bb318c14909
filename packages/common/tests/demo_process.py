"""The demo as a process of its own, all of whose files and processes can be found again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Demo:
    """Starts the demo with its temporary files below ``folder``.

    Args:
        folder: an empty folder with a short path.
        packages: a folder with further driver packages.
    """

    def __init__(self, folder: Path, packages: Path | None = None) -> None:
        self.folder = folder
        path = [str(packages)] if packages else []
        self._path = os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")])
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dra_common.testing.demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": self._path, "TMPDIR": str(self.folder), "COLUMNS": "80"},
        )
        self._started.append(process)
        return process

    def play(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=110)
        return process.returncode, out, err

    def told(self, shown: Mapping[str, str], *arguments: str) -> list[dict[str, Any]]:
        """Play it as JSON; the events, all of whose statements are true.

        ``shown``: words of a step's title -> words of a statement in it.
        """
        code, out, err = self.play("--json", *arguments)
        assert (code, err) == (0, ""), out
        events: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
        titles = {event["step"]: event["title"] for event in events if event["event"] == "step"}
        assert list(titles) == list(range(1, len(titles) + 1))
        checks = [event for event in events if event["event"] == "check"]
        for words, statement in shown.items():
            (step,) = (step for step, title in titles.items() if words in title)
            said = [check["statement"] for check in checks if check["step"] == step]
            assert any(statement in one for one in said), (words, said)
        assert all(check["ok"] is True for check in checks)
        assert (events[-1]["event"], events[-1]["ok"], events[-1]["checked"]) == ("end", True, len(checks))
        self.nothing_left()
        return events

    def nothing_left(self) -> None:
        assert list(self.folder.iterdir()) == []
        assert self.processes() == []

    def processes(self) -> list[int]:
        """Processes that have the folder's path on their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.folder) in command:
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """End what a failed test has left: the demo first in order, then by force."""
        for process in self._started:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except (subprocess.TimeoutExpired, ValueError):
                process.kill()
                process.wait()


@contextmanager
def demos(packages: Path | None = None) -> Iterator[Demo]:
    """Yield a :class:`Demo`; nothing of it outlives the block."""
    folder = Path(tempfile.mkdtemp(prefix="dra"))
    demo = Demo(folder, packages)
    try:
        yield demo
    finally:
        demo.close()
        shutil.rmtree(folder, ignore_errors=True)
