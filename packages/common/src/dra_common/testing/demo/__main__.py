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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dra_common.errors import DraError
from dra_common.testing.demo.narrator import Narrator, StatementFalse, StoryUnfit
from dra_common.testing.demo.story import Story
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import NoMachine, PrepareFailed, SimulatedNode

_SURPRISES = (StatementFalse, PrepareFailed, KubeletCallError, DraError, TimeoutError, RuntimeError)
"""What ends a story as not true: told in a line, never as a traceback."""

_FALSE, _BAD_USAGE, _SIGNALLED = 1, 2, 128
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one story and return the exit code: 0 true, 1 not true or not told, 2 bad usage, 128 + n at signal n."""
    parser = _Parser(prog="demo", description="Play a driver's life on a simulated node.")
    asked = _arguments(parser).parse_args(arguments)
    module = f"{asked.driver}_driver"
    stories = _stories(parser, asked.driver)
    if asked.story not in stories:
        parser.error(
            f"no story {asked.story!r} of the {asked.driver} driver (there are: {', '.join(stories)})"
        )
    _stop_in_order()
    try:
        with _folder() as root:
            return _play(stories[asked.story], root, module, asked.profile, Narrator(as_json=asked.json))
    except _Stopped as stop:
        return _SIGNALLED + stop.number
    except NoMachine as error:
        parser.error(str(error))


def _play(story: Story, root: Path, module: str, profile: str, narrator: Narrator) -> int:
    node = SimulatedNode(
        root, module=module, driver=story.driver, profile=profile or story.profile, name="demo-node"
    )
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
        narrator.failed(str(error), node.log_tail())
        return _FALSE
    else:
        narrator.end()
        return 0


class _Stopped(BaseException):
    """Somebody wants the demo to end now."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop_in_order() -> None:
    """Let the first signal unwind everything, and let no other interrupt that: processes and files must go."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in _STOPS:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    for each in _STOPS:
        signal.signal(each, stop)


@contextmanager
def _folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="dra-demo"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


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
    parser.add_argument("--story", default="claim", help="which one (default: claim)")
    parser.add_argument(
        "--profile", default="", help="simulated machine, see `<driver>-driver simulate --list`"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON event a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
