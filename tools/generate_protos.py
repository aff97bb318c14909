"""Generate the gRPC stubs of all packages from our own .proto files, or check that they are up to date.

    python tools/generate_protos.py            write every _generated/ folder
    python tools/generate_protos.py --check    exit 1 and name every stale, missing or surplus file

Stubs carry the version of their generator, so only the pinned grpcio-tools gives the same bytes.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
STUBS = {
    PACKAGES / "common/proto": PACKAGES / "common/src/dra_common/kubelet/_generated",
    PACKAGES / "gpu-driver/proto": PACKAGES / "gpu-driver/src/gpu_driver/xpumd/_generated",
}
"""Folder of .proto files -> folder of their stubs."""

INIT = '"""Generated from packages/{}/proto by tools/generate_protos.py: do not edit."""\n'

_ABSOLUTE_IMPORT = re.compile(r"^import (\w+_pb2) as ", flags=re.MULTILINE)
"""How protoc imports a sibling: as a top-level module, which is not where the stubs live."""


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file would change")
    parser.add_argument(
        "--protos", type=Path, help="folder of the .proto files, if not all of ours; with --out"
    )
    parser.add_argument("--out", type=Path, help="folder of the stubs")
    arguments = parser.parse_args()
    wanted = {arguments.protos: arguments.out} if arguments.protos else STUBS
    made = {out: generate(protos) for protos, out in wanted.items()}
    return max(check(stubs, out) if arguments.check else write(stubs, out) for out, stubs in made.items())


def generate(protos: Path) -> dict[str, str]:
    """Return file name -> text of every stub. Exits with protoc's own message if a .proto file is wrong."""
    names = sorted(path.name for path in protos.glob("*.proto"))
    if not names:
        sys.exit(f"no .proto files in {protos}")
    with tempfile.TemporaryDirectory() as folder:
        _protoc(protos, names, folder)
        stubs = {path.name: _relative(path.read_text()) for path in Path(folder).iterdir()}
    package = protos.parent.name if protos in STUBS else "common"
    return {"__init__.py": INIT.format(package), **stubs}


def check(stubs: dict[str, str], out: Path) -> int:
    """Name the files that differ from ``stubs``; 1 if there are any."""
    stale = [
        name for name, text in stubs.items() if not (out / name).is_file() or (out / name).read_text() != text
    ]
    bad = sorted(stale) + _surplus(stubs, out)
    for name in bad:
        print(f"{out / name} is stale: run `make protos` and commit", file=sys.stderr)
    if bad:
        print(f"(compared with grpcio-tools {version('grpcio-tools')})", file=sys.stderr)
    return 1 if bad else 0


def write(stubs: dict[str, str], out: Path) -> int:
    """Make the folder hold exactly ``stubs``."""
    out.mkdir(parents=True, exist_ok=True)
    for name in _surplus(stubs, out):
        (out / name).unlink()
    for name, text in stubs.items():
        (out / name).write_text(text)
    return 0


def _protoc(protos: Path, names: list[str], folder: str) -> None:
    well_known = files("grpc_tools").joinpath("_proto")
    outs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    if code := protoc.main(["protoc", f"-I{protos}", f"-I{well_known}", *outs, *names]):
        sys.exit(code)


def _relative(text: str) -> str:
    return _ABSOLUTE_IMPORT.sub(r"from . import \1 as ", text)


def _surplus(stubs: dict[str, str], out: Path) -> list[str]:
    """Return the stubs in the folder whose .proto file is gone."""
    return sorted(path.name for path in out.glob("*.py*") if path.is_file() and path.name not in stubs)


if __name__ == "__main__":
    sys.exit(main())
