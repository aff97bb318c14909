"""``make fuzz``: every property of ``packages/*/tests/properties`` with as many inputs as are wanted.

Findings are files below ``.fuzz/findings``; ``make fuzz TARGET=name INPUT=file`` shows one again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fuzz_target import ROOT, properties

FUZZ = ROOT / ".fuzz"
MOST_FINDINGS = 5
WORKER = ROOT / "tools" / "fuzz_target.py"


@dataclass
class Result:
    """What became of one target."""

    target: str
    engine: str
    inputs: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return a line of the table."""
        return (
            f"{self.target:<14} {self.engine:<11} {self.inputs:>9,} {self.seconds:>8.1f}"
            f" {len(self.findings):>9}"
        )


HEADER = f"{'target':<14} {'engine':<11} {'inputs':>9} {'seconds':>8} {'findings':>9}"


def fuzz(target: str, runs: int, seed: int, *, guided: bool) -> Result:
    """Run one target until it has seen ``runs`` inputs; after a finding with another seed, some times."""
    result = Result(target, "atheris" if guided else "hypothesis")
    started = time.monotonic()
    while result.inputs < runs and len(result.findings) < MOST_FINDINGS:
        attempt = seed + len(result.findings)
        result.inputs += _attempt(result, runs - result.inputs, attempt, guided=guided)
    result.seconds = round(time.monotonic() - started, 1)
    return result


def _attempt(result: Result, runs: int, seed: int, *, guided: bool) -> int:
    """Return how many inputs one process has seen; what it died of is added to the findings."""
    target = result.target
    corpus, findings, count = FUZZ / "corpus" / target, FUZZ / "findings", FUZZ / f"{target}.count"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    command = [sys.executable, str(WORKER), target, f"--runs={runs}", f"--seed={seed}", f"--count={count}"]
    command += [f"--corpus={corpus}", f"--findings={findings}", *(["--guided"] if guided else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, preexec_fn=_be_nice)
    if done.returncode:
        said = findings / f"{target}-{seed}.txt"
        said.write_bytes(done.stdout + done.stderr)
        new = sorted(set(findings.iterdir()) - before - {said})
        result.findings += [str(path.relative_to(ROOT)) for path in [*new, said]][:1]
        print(f"{target}: {said.relative_to(ROOT)}\n{_end(done.stderr)}", file=sys.stderr, flush=True)
    return int(struct.unpack("=Q", count.read_bytes())[0]) if count.exists() else 0


def _be_nice() -> None:
    os.nice(19)


def _end(text: bytes) -> str:
    return "\n".join(text.decode("utf-8", "replace").splitlines()[-15:])


def main() -> int:
    """Return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of the table")
    parser.add_argument("--input", type=Path, help="show one finding of --target again")
    options = parser.parse_args()
    known = properties()
    chosen = options.target or list(known)
    if unknown := sorted(set(chosen) - set(known)):
        parser.error(f"unknown target {unknown[0]}; known are {', '.join(known)}")
    if options.input:
        command = [sys.executable, str(WORKER), chosen[0], f"--input={options.input.resolve()}"]
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    return _all(chosen, {name for name in chosen if known[name].guided}, options)


def _all(chosen: list[str], to_guide: set[str], options: argparse.Namespace) -> int:
    if not (atheris := importlib.util.find_spec("atheris") is not None):
        print("atheris has no wheel for this interpreter: nothing is guided by coverage", file=sys.stderr)
    if not options.json:
        print(HEADER, flush=True)
    results = []
    for name in chosen:
        result = fuzz(name, options.runs, options.seed, guided=atheris and name in to_guide)
        results.append(result)
        if not options.json:
            print(result.row(), flush=True)
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    return 1 if any(result.findings for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
