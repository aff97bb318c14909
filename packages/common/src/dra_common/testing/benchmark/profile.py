"""Where the time of a prepare goes: the engine in this process, under the interpreter's own profiler."""

from __future__ import annotations

import cProfile
import io
import pstats
import tempfile
from pathlib import Path

from dra_common.deadline import Deadline
from dra_common.testing.bench import Bench

_CALLS = 300
_LINES = 25


def keep(folder: Path) -> Path:
    """Write ``prepare.prof`` (for pstats and viewers) and its top lines as ``prepare.txt``; returns the former."""
    kept, profiler = folder / "prepare.prof", cProfile.Profile()
    with tempfile.TemporaryDirectory(prefix="dra") as root:
        bench = Bench(Path(root))
        refs = [bench.claim(f"c{number}", "a") for number in range(_CALLS)]
        profiler.enable()
        for ref in refs:
            bench.engine.prepare(ref, Deadline.after(45))
            bench.engine.unprepare(ref, Deadline.after(45))
        profiler.disable()
    profiler.dump_stats(kept)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(_LINES)
    (folder / "prepare.txt").write_text(text.getvalue())
    return kept
