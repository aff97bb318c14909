"""A cluster to play with: it outlives the command that made it, until `down`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.sandbox import HARNESS, entering
from harness.settings import OUTPUT, Settings
from harness.waiting import wait_for

STATE = OUTPUT / "cluster.json"
START = 180.0
STOP = 90.0


@dataclass(frozen=True, slots=True)
class Running:
    """The cluster that is there.

    ``minor`` is its version of Kubernetes, ``owner`` and ``init`` are process ids on the host of its owner and of its
    process 1, ``environment`` is for programs inside.
    """

    minor: str
    owner: int
    init: int
    environment: dict[str, str]


def running(state: Path = STATE) -> Running | None:
    """Find the cluster that is there, if its owner lives."""
    try:
        found = Running(**json.loads(state.read_text()))
        alive = b"harness" in Path(f"/proc/{found.owner}/cmdline").read_bytes()
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if alive else None


def hold(settings: Settings, minor: str, state: Path = STATE) -> None:
    """Make a cluster, write where it is, and keep it until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    try:
        with Cluster(settings) as cluster:
            sandbox = cluster.sandbox
            found = Running(minor, os.getpid(), sandbox.init, sandbox.environment)
            new = state.with_suffix(".new")
            new.write_text(json.dumps(asdict(found)))
            new.replace(state)
            sandbox.wait()
    finally:
        # Only now is nothing left of it, which is what `down` waits for.
        state.unlink(missing_ok=True)


def up(arguments: Sequence[str], state: Path = STATE) -> Running:
    """Start ``python -m harness hold`` with these arguments in the background; the cluster when it is ready.

    Raises ``HarnessError`` with what that process said if it ends before.
    """
    state.parent.mkdir(exist_ok=True)
    log = state.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "hold", *arguments],
            env=os.environ | {"PYTHONPATH": str(HARNESS)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        wait_for(lambda: running(state) or process.poll() is not None, "the cluster", START)
    except BaseException:
        process.terminate()
        raise
    found = running(state)
    if found is None:
        raise HarnessError(log.read_text().strip().removeprefix("e2e: ") or f"it said nothing, see {log}")
    return found


def down(state: Path = STATE) -> bool:
    """End the cluster that is there, and wait until nothing of it is left; False if there was none."""
    found = running(state)
    if found is None:
        state.unlink(missing_ok=True)
        return False
    with suppress(ProcessLookupError):
        os.kill(found.owner, signal.SIGTERM)
    wait_for(lambda: running(state) is None, "the cluster to end", STOP)
    return True


def execute(found: Running, command: Sequence[str]) -> int:
    """Run a program in the cluster with this terminal; its exit code."""
    environment = found.environment | {
        name: os.environ[name] for name in ("TERM", "LANG") if name in os.environ
    }
    # Entering a mount namespace also changes the working folder.
    full = [*entering(found.init), "env", f"--chdir={Path.cwd()}", *command]
    return subprocess.run(full, env=environment, check=False).returncode
