"""The programs of a cluster, built from pinned sources into a cache.

The name of a build is made of all that goes into it, so a build that is there is the right one. It is made under a
temporary name and renamed when it is whole; a lock keeps a second builder waiting; what a killed one left is removed by
the next.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.building import SPACE, GoBuild, Say
from harness.errors import HarnessError
from harness.images import write_pause
from harness.settings import tools_folder

PROGRAMS = (
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "etcd",
    "helm",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
# A build that nobody used for so long is removed by the next one.
FORGET = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Tools:
    """A finished build: ``programs`` has the binaries, ``images`` the images that every node needs."""

    folder: Path

    @property
    def programs(self) -> Path:
        """Folder of the binaries."""
        return self.folder / "bin"

    @property
    def images(self) -> Path:
        """Folder of image files."""
        return self.folder / "images"


def cache_folder() -> Path:
    """Give the folder of all builds: in ``$XDG_CACHE_HOME``, or in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dra-drivers-e2e"


def tools(minor: str, say: Say) -> Tools:
    """Give the tools for a version of Kubernetes; build them if they are not there.

    Raises ``HarnessError`` in one line: no Go or one that is too old, a full disk, a compile error.
    """
    build = GoBuild(tools_folder(minor))
    folder = cache_folder() / f"{minor}-{_key(build)}"
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _lock(folder, say):
                # Another builder may have been faster.
                if not folder.exists():
                    _make(build, folder, say)
        os.utime(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise HarnessError(f"cannot keep the tools in {folder}: {error.strerror}") from error
        raise HarnessError(f"the disk of {folder.parent} is full", cure=SPACE) from error
    return Tools(folder)


def _key(build: GoBuild) -> str:
    parts = [(build.folder / name).read_bytes() for name in ("go.mod", "go.sum")]
    parts += [build.recipe().encode(), build.go_version().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@contextmanager
def _lock(folder: Path, say: Say) -> Iterator[None]:
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build of {folder.name} is running, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(build: GoBuild, folder: Path, say: Say) -> None:
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        (new / "images").mkdir(parents=True)
        build.run(new / "bin", say)
        # The main package of etcd has no name of its own.
        (new / "bin" / "server").rename(new / "bin" / "etcd")
        missing = [name for name in PROGRAMS if not (new / "bin" / name).exists()]
        if missing:
            raise HarnessError(
                f"go built everything but {', '.join(missing)}", cure="see the `tool` lines of go.mod"
            )
        write_pause(
            build.module_folder("k8s.io/kubernetes") / "build" / "pause" / "linux" / "pause.c", new / "images"
        )
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _forget(folder)


def _forget(current: Path) -> None:
    for other in current.parent.iterdir():
        if other != current and time.time() - other.stat().st_mtime > FORGET:
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink(missing_ok=True)
