"""``python process.py TESTS PROFILE.yaml ROOT``: the simulator as a process of its own, with the test's drivers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from dra_common.simulate import find_profile, serve


def main(tests: Path, profile: Path, root: Path) -> None:
    spec = importlib.util.spec_from_file_location("machine", tests / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["machine"] = module
    spec.loader.exec_module(module)
    simulation = module.make_simulation(profile.parent)
    serve(simulation, find_profile(simulation, "nic"), root, ready=lambda: print("ready", flush=True))  # noqa: T201


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
