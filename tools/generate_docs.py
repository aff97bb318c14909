"""Write the generated parts of docs/ and of charts' READMEs from the code, or check that they are up to date.

    python tools/generate_docs.py            write them
    python tools/generate_docs.py --check    exit 1 and name every stale file and part

A generated part stands between two comments of a page: ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``. The
names are the keys of SECTIONS below. Everything else on a page is written by hand, and held true by the test_docs.py of
each package and tests/test_driver_docs.py.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import docs_chart
import docs_common
import docs_gaudi
import docs_gpu
import docs_scenarios

DOCS = Path(__file__).resolve().parent.parent / "docs"

DRIVERS = (docs_gpu.GPU, docs_gaudi.GAUDI)

SECTIONS: Mapping[str, Callable[[], str]] = {
    **{name: make for driver in DRIVERS for name, make in driver.sections().items()},
    "control-operations": docs_common.control_operations,
    "driver-protocol": docs_common.driver_protocol,
    "error-tree": docs_common.error_tree,
    "defects": docs_scenarios.defects,
    "event-reasons": docs_common.event_reasons,
    "fakes": docs_common.fakes,
    "garbage": docs_common.garbage_rules,
    "gpu-counters": docs_gpu.counters,
    "gpu-families": docs_gpu.families,
    "ignored-options": docs_common.ignored_options,
    "kernel-behaviour": docs_common.kernel_behaviour,
    "layers": docs_common.layers,
    "metrics": docs_common.metrics,
    "phases": docs_common.phases,
    "ports": docs_common.ports,
    "profile-example": docs_common.profile_example,
    "profile-fields": docs_common.profile_fields,
    "scenarios": docs_scenarios.scenarios,
    "start-and-stop": docs_common.start_and_stop,
    "state-files": docs_gpu.state_files,
    "steps": docs_common.steps,
}

FILES: Mapping[str, Callable[[str], str]] = {
    path: make for driver in DRIVERS for path, make in driver.files().items()
}
"""Files that are generated, or end so; path below the root -> what makes it of what is there."""

_PART = re.compile(r"(<!-- generated: (?P<name>\S+) -->\n).*?(<!-- end: (?P=name) -->\n)", re.DOTALL)
_MARK = re.compile(r"<!-- (?:generated|end): (\S+) -->")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page would change")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages")
    asked = parser.parse_args(arguments)
    found = [*asked.docs.rglob("*.md"), *docs_chart.CHARTS.glob("*/chart/README.md")]
    pages = {path: path.read_text() for path in sorted(found)}
    complaints = misplaced(pages)
    if complaints:
        print(*complaints, sep="\n", file=sys.stderr)
        return 1
    texts = {name: make() for name, make in SECTIONS.items()}
    fresh = {path: filled(page, texts) for path, page in pages.items()}
    for name, make in FILES.items():
        path = DOCS.parent / name
        pages[path] = path.read_text() if path.exists() else ""
        fresh[path] = make(pages[path])
    return check(pages, fresh) if asked.check else write(pages, fresh)


def filled(page: str, texts: Mapping[str, str]) -> str:
    """Return a page with its generated parts made anew."""
    return _PART.sub(lambda match: f"{match[1]}\n{texts[match['name']]}\n\n{match[3]}", page)


def misplaced(pages: Mapping[Path, str]) -> list[str]:
    """Say which parts are unknown, not closed, on no page, or on several."""
    places: dict[str, list[Path]] = {name: [] for name in SECTIONS}
    complaints = []
    for path, page in pages.items():
        whole = [match["name"] for match in _PART.finditer(page)]
        for name in sorted(set(_MARK.findall(page))):
            if name not in places:
                complaints.append(f"{path}: there is no part {name!r}")
            elif whole.count(name) != 1 or len(_MARK.findall(page)) != 2 * len(whole):
                complaints.append(f"{path}: part {name!r} must be opened and closed once, outside of others")
            else:
                places[name].append(path)
    if not complaints:
        complaints = [
            f"part {name!r} belongs on one page, and is on {', '.join(map(str, on)) or 'none'}"
            for name, on in places.items()
            if len(on) != 1
        ]
    return complaints


def check(pages: Mapping[Path, str], fresh: Mapping[Path, str]) -> int:
    """Name the stale pages and parts; 1 if there are any."""
    stale = [path for path in pages if pages[path] != fresh[path]]
    for path in stale:
        old, new = (dict(_parts(texts[path])) for texts in (pages, fresh))
        names = ", ".join(name for name in new if old[name] != new[name]) or "all of it"
        print(f"{path} is stale ({names}): run `hatch run docs` and commit", file=sys.stderr)
    return 1 if stale else 0


def write(pages: Mapping[Path, str], fresh: Mapping[Path, str]) -> int:
    """Write the pages that changed."""
    for path, page in fresh.items():
        if page != pages[path]:
            path.write_text(page)
    return 0


def _parts(page: str) -> list[tuple[str, str]]:
    return [(match["name"], match[0]) for match in _PART.finditer(page)]


if __name__ == "__main__":
    sys.exit(main())
