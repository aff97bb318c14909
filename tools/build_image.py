"""Builds a driver's image from the Containerfile, with a base that is made here: no registry is asked for an image.

    python tools/build_image.py                          dist/intel-gpu-driver.tar, localhost/intel-gpu-driver:dev
    python tools/build_image.py --driver gaudi-driver    dist/intel-gaudi-driver.tar, localhost/intel-gaudi-driver:dev
    python tools/build_image.py --base debian:12-slim    from an image that buildah can pull
    make image DRIVER=gaudi-driver                       the same, in the environment of the checkout

The base is Debian or Ubuntu, of the release that this machine has, from its package archive. What comes out is one
tar file in the OCI image layout, for `ctr images import`, `podman load` or `skopeo copy oci-archive:`. Needs root,
buildah and mmdebstrap. Bases and layers are kept in `.image/`; `make clean` removes them. A build that is killed
leaves no process and no mount, and the next one removes its unfinished files.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from enclosed import enclosed, unmount_below

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / ".image"
# What a build needs only while it runs, and what buildah remembers of mounts, which end with it.
SCRATCH = STORE / "scratch"
RUN = STORE / "run"
_NEEDED = ("buildah", "mmdebstrap")
_DRIVERS = sorted(path.name for path in (ROOT / "packages").glob("*-driver"))
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")


class Refused(Exception):
    """The image cannot be built; ``str()`` is one line for a person."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build in namespaces of its own, and say what came out."""
    options = parse(arguments)
    try:
        _require(options.base)
        unmount_below(STORE)
        return enclosed(partial(build, options))
    except Refused as error:
        return _say_why(error)
    except OSError as error:
        return _say_why(f"{error.strerror}: {error.filename}: run it outside a container that forbids mounts")


def build(options: argparse.Namespace) -> int:
    """Build here, and say what came out."""
    begun = time.monotonic()
    try:
        with _alone():
            _build(options.driver, options.tag, options.base)
            _export(options.tag, options.output)
            _tell(options, begun)
    except Refused as error:
        return _say_why(error)
    return 0


def _say_why(error: object) -> int:
    print(f"build_image: {error}", file=sys.stderr)
    return 1


def _tell(options: argparse.Namespace, begun: float) -> None:
    size, unpacked = options.output.stat().st_size, _size(options.tag)
    print(
        f"{options.tag}: {options.output} {size / 1e6:.0f} MB, unpacked {unpacked / 1e6:.0f} MB,"
        f" after {time.monotonic() - begun:.0f} s"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--driver", default="gpu-driver", choices=_DRIVERS)
    parser.add_argument("--base", default="", help="image to start from; by default one is made")
    parser.add_argument("--tag", default="", help="the image's name; by default localhost/intel-<driver>:dev")
    parser.add_argument("--output", type=Path, help="the tar file; by default dist/intel-<driver>.tar")
    options = parser.parse_args(arguments)
    name = f"intel-{options.driver}"
    options.tag = options.tag or f"localhost/{name}:dev"
    options.output = (options.output or ROOT / "dist" / f"{name}.tar").absolute()
    return options


def _require(base: str) -> None:
    if os.geteuid() != 0:
        raise Refused("root is needed to make file systems of images: run it with sudo")
    needed = _NEEDED[:1] if base else _NEEDED
    missing = [program for program in needed if not shutil.which(program)]
    if missing:
        raise Refused(f"missing {', '.join(missing)}: apt-get install {' '.join(missing)}")


# ---------------------------------------------------------------------- steps


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for another build of this checkout, and remove what a killed one left."""
    with (_made(STORE) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_unfinished()
        # Of buildah and mmdebstrap too.
        os.environ["TMPDIR"] = str(_made(SCRATCH))
        yield
        shutil.rmtree(SCRATCH)


def _remove_unfinished() -> None:
    for folder in (SCRATCH, RUN):
        shutil.rmtree(folder, ignore_errors=True)
    if (STORE / "store").exists():
        _buildah("rm", "--all", quiet=True)


def _build(driver: str, tag: str, base: str) -> None:
    arguments = {
        "BASE": base or _local_base(),
        "DRIVER": driver,
        "COMMON_VERSION": _version("common"),
        "DRIVER_VERSION": _version(driver),
        "REVISION": _say("git", "rev-parse", "HEAD"),
    }
    _buildah(
        "build",
        "--isolation=chroot",
        "--layers",
        "--timestamp=0",
        *_pip_settings(),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        f"--file={ROOT / 'deployments/Containerfile'}",
        f"--tag={tag}",
        str(ROOT),
    )


def _pip_settings() -> Iterator[str]:
    """Let pip inside reach the package index as pip outside does."""
    if index := os.environ.get("PIP_INDEX_URL"):
        yield f"--build-arg=PIP_INDEX_URL={index}"
    if certificates := os.environ.get("PIP_CERT"):
        yield f"--volume={certificates}:/pip-certificates.crt:ro"
        yield "--build-arg=PIP_CERT=/pip-certificates.crt"


def _local_base() -> str:
    """Return the name of a base of this machine's distribution and release, made at the first call."""
    release = platform.freedesktop_os_release()
    suite = release.get("VERSION_CODENAME", "")
    if not suite:
        raise Refused(
            "this system has no release of Debian or Ubuntu to make a base from: name one with --base"
        )
    name = f"localhost/base-{release['ID']}:{suite}"
    if not _exists(name):
        print(f"making the base image {name}", flush=True)
        with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
            archive = Path(scratch) / "base.tar"
            excluded = [f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED]
            _run("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", *excluded, suite, str(archive))
            container = _buildah("from", "scratch", quiet=True)
            _buildah("add", "--quiet", container, str(archive), "/", quiet=True)
            _buildah("commit", "--quiet", "--rm", container, name, quiet=True)
    return name


def _export(tag: str, output: Path) -> None:
    """Write the image as one tar file, under its whole name, which containerd takes from an annotation of its own."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        layout = Path(scratch) / "image"
        _buildah("push", "--quiet", "--disable-compression", tag, f"oci:{layout}:{tag}", quiet=True)
        index = json.loads((layout / "index.json").read_text())
        index["manifests"][0]["annotations"] = {
            "io.containerd.image.name": tag,
            "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
        }
        (layout / "index.json").write_text(json.dumps(index))
        with _replaced(output) as fresh, tarfile.open(fresh, "w") as tar:
            for path in sorted(layout.rglob("*")):
                tar.add(path, path.relative_to(layout).as_posix(), recursive=False, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yield where to write; the file appears whole or not at all."""
    fresh = _made(path.parent) / f".{path.name}.new"
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


# ---------------------------------------------------------------------- programs


def _buildah(*arguments: str, quiet: bool = False) -> str:
    command = ("buildah", f"--root={STORE / 'store'}", f"--runroot={RUN}", *arguments)
    return _say(*command) if quiet else _run(*command)


def _exists(name: str) -> bool:
    try:
        _buildah("inspect", "--type=image", name, quiet=True)
    except Refused:
        return False
    return True


def _size(tag: str) -> int:
    listed = json.loads(_buildah("images", "--json", tag, quiet=True))
    # As a person reads it: "118 MB".
    number, unit = str(listed[0]["size"]).split()
    return int(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])


def _version(package: str) -> str:
    folder = ROOT / "packages" / package
    return _say(sys.executable, "-m", "hatchling", "version", folder=folder).splitlines()[-1]


def _say(*command: str, folder: Path = ROOT) -> str:
    """Run a program and return what it prints. Raises Refused."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise Refused(f"{command[0]} failed: {why[-1]}")
    return done.stdout.strip()


def _run(*command: str) -> str:
    """Run a program whose progress is for a person. Raises Refused."""
    done = subprocess.run(command, check=False, cwd=ROOT)
    if done.returncode:
        raise Refused(f"{' '.join(command[:1])} ended with exit code {done.returncode}, see above")
    return ""


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
