"""``python -m dra_common.testing.demo``: plays a story; exit code 0 = every statement in it was true."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dra_common.errors import DraError
from dra_common.testing.demo.narrator import Narrator, StatementFalse
from dra_common.testing.demo.story import Story
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import PrepareFailed, SimulatedNode

DRIVERS = ("gpu", "gaudi", "qat")

_SURPRISES = (StatementFalse, PrepareFailed, KubeletCallError, DraError, TimeoutError, RuntimeError)
"""What ends a story as not true: told in a line, never as a traceback."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one story and return the exit code: 0 true, 1 not true, 2 bad usage."""
    asked = _parser().parse_args(arguments)
    module = f"{asked.driver}_driver"
    stories = _stories(module)
    if asked.story not in stories:
        known = ", ".join(stories) or "none: that driver is not installed"
        _parser().error(f"no story {asked.story!r} of the {asked.driver} driver; there are: {known}")
    return _play(stories[asked.story], module, asked.profile, Narrator(as_json=asked.json))


def _play(story: Story, module: str, profile: str, narrator: Narrator) -> int:
    root = Path(tempfile.mkdtemp(prefix="dra-demo"))
    node = SimulatedNode(
        root, module=module, driver=story.driver, profile=profile or story.profile, name="demo-node"
    )
    narrator.say(story.title)
    try:
        with node:
            story.tell(node, narrator)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing more can be said to it, not even by the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _SURPRISES as error:
        narrator.failed(str(error), node.log_tail())
        return 1
    else:
        narrator.end()
        return 0
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _stories(module: str) -> Mapping[str, Story]:
    try:
        found = importlib.import_module(f"{module}.demo")
    except ModuleNotFoundError:
        return {}
    stories: Mapping[str, Story] = found.STORIES
    return stories


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description="Play a driver's life on a simulated node.")
    parser.add_argument("--driver", choices=DRIVERS, default="gpu", help="whose story (default: gpu)")
    parser.add_argument("--story", default="claim", help="which one (default: claim)")
    parser.add_argument(
        "--profile", default="", help="simulated machine, see `<driver>-driver simulate --list`"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON event a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
