"""``python -m dra_common.testing.demo``: plays a story; exit code 0 = every statement in it was true."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Thread
from typing import NoReturn

from dra_common.errors import DraError
from dra_common.testing.demo.narrator import Narrator, StatementFalse, StoryUnfit
from dra_common.testing.demo.story import Story
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import NoMachine, PrepareFailed, SimulatedNode

_SURPRISES = (StatementFalse, PrepareFailed, KubeletCallError, DraError, TimeoutError, RuntimeError)
"""What ends a story as not true: told in a line, never as a traceback."""

_FALSE, _BAD_USAGE, _SIGNALLED = 1, 2, 128
_REMOVALS = 10
_ENDED = 0
"""In place of a signal's number."""

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one story and return the exit code: 0 true, 1 not true or not told, 2 bad usage.

    SIGINT, SIGTERM and SIGHUP end the process with 128 + their number, and leave nothing.
    """
    parser = _Parser(prog="demo", description="Play a driver's life on a simulated node.")
    asked = _arguments(parser).parse_args(arguments)
    module = f"{asked.driver}_driver"
    stories = _stories(parser, asked.driver)
    name = asked.story or next(iter(stories))
    if name not in stories:
        parser.error(f"no story {name!r} of the {asked.driver} driver (there are: {', '.join(stories)})")
    story, root = stories[name], Path(tempfile.mkdtemp(prefix="dra-demo"))
    profile = asked.profile or story.profile
    node = SimulatedNode(root, module=module, driver=story.driver, profile=profile, name="demo-node")
    try:
        return _watched(partial(_play, story, node, Narrator(as_json=asked.json)), node)
    except NoMachine as error:
        parser.error(str(error))
    finally:
        _remove(root)


def _watched(play: Callable[[], int], node: SimulatedNode) -> int:
    """Play in a thread of its own and return the exit code; the first signal ends the process and all it started.

    A handler that raised would do so in the middle of anything, perhaps with a lock of the fakes in hand; and a signal
    may come in any thread, so that this one is woken by what is written to a pipe.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for each in _STOPS:
        signal.signal(each, lambda _number, _frame: None)
    outcome: Future[int] = Future()
    outcome.add_done_callback(lambda _outcome: os.write(writer, bytes([_ENDED])))
    Thread(target=_settle, args=(outcome, play), daemon=True).start()
    if number := os.read(reader, 1)[0]:
        node.abandon()
        _remove(node.root)
        os._exit(_SIGNALLED + number)
    return outcome.result()


def _settle(outcome: Future[int], play: Callable[[], int]) -> None:
    try:
        outcome.set_result(play())
    except BaseException as error:  # noqa: BLE001 - raised again where it is looked at
        outcome.set_exception(error)


def _remove(root: Path) -> None:
    """Remove all files, also those that a story which is abandoned makes meanwhile."""
    for _ in range(_REMOVALS):
        if root.exists():
            shutil.rmtree(root, ignore_errors=True)


def _play(story: Story, node: SimulatedNode, narrator: Narrator) -> int:
    try:
        with node:
            narrator.say(story.title)
            story.tell(node, narrator)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing more can be said to it, not even by the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FALSE
    except NoMachine:
        raise
    except StoryUnfit as error:
        narrator.unfit(str(error))
        return _FALSE
    except _SURPRISES as error:
        if not node.abandoned:
            narrator.failed(str(error), node.log_tail())
        return _FALSE
    else:
        narrator.end()
        return 0


def _stories(parser: _Parser, driver: str) -> Mapping[str, Story]:
    if driver not in _drivers():
        known = ", ".join(_drivers()) or "none"
        parser.error(f"no driver {driver!r} with stories is installed (there are: {known})")
    found: Mapping[str, Story] = importlib.import_module(f"{driver}_driver.demo").STORIES
    return found


def _drivers() -> list[str]:
    """Installed packages ``<name>_driver`` with a module ``demo``: a driver more is a package more, nothing else."""
    names = [found.name for found in pkgutil.iter_modules() if found.ispkg and found.name.endswith("_driver")]
    told = [name for name in names if importlib.util.find_spec(f"{name}.demo")]
    return sorted(name.removesuffix("_driver") for name in told)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_USAGE, f"{self.prog}: {message}; see --help\n")


def _arguments(parser: _Parser) -> _Parser:
    parser.add_argument("--driver", default="gpu", help="whose story (default: gpu)")
    parser.add_argument("--story", default="", help="which one (default: the driver's first)")
    parser.add_argument(
        "--profile", default="", help="simulated machine, see `<driver>-driver simulate --list`"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON event a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
