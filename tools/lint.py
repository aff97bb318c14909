"""Every check that needs no test: one line each, the whole output of those that fail, all of them run."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))

CHECKS = {
    "ruff check": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--check", "--quiet", "--diff", "."],
    # One run for each package: their tests have modules of the same name.
    **{f"mypy {name}": ["mypy", f"packages/{name}"] for name in PACKAGES},
    "mypy tools tests": ["mypy", "tools", "tests", "conftest.py"],
    "mypy e2e": ["mypy", "e2e"],
    "mypy kernel": ["mypy", "kernel"],
    "imports": ["lint-imports", "--no-cache", "--no-logo"],
    "generated stubs": [sys.executable, "tools/generate_protos.py", "--check"],
    "generated docs": [sys.executable, "tools/generate_docs.py", "--check"],
}


def passes(name: str, command: list[str]) -> bool:
    """Run one check from the root and report it in a line."""
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    result = "FAILED" if done.returncode else "ok"
    print(f"{name:<20} {result:<7} {time.monotonic() - start:5.1f} s", flush=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="", end="\n", flush=True)
    return done.returncode == 0


def main() -> int:
    """Return the exit code: 1 if any check failed."""
    results = [passes(name, command) for name, command in CHECKS.items()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
