"""The two parts of a guest, from Debian 12's backports: QEMU (with kmod and busybox), and a stock kernel."""

import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guest.apt import Apt, Deb
from guest.cache import Cache, Say, part_name
from guest.errors import GuestError
from guest.programs import SPACE, output

# Debian 12's own QEMU is older than the emulated igb.
TOOLS = ("qemu-system-x86", "kmod", "busybox-static")
KERNEL = "linux-image-amd64"
# Raised when the same packages are made into something else.
RECIPE = "1"
# How long the answer of the mirror counts, in seconds.
FRESH = 7 * 24 * 3600.0
NEEDED = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """Folders: ``tools`` has unpacked programs and their libraries, ``kernel`` has ``vmlinuz`` and ``lib/modules``."""

    tools: Path
    kernel: Path

    @property
    def libraries(self) -> tuple[Path, ...]:
        """Folders of the shared libraries that the tools bring along."""
        return tuple(self.tools / name / "x86_64-linux-gnu" for name in ("usr/lib", "lib"))

    @property
    def release(self) -> str:
        """What ``uname -r`` says in the guest."""
        return next((self.kernel / "lib" / "modules").iterdir()).name

    @property
    def whole(self) -> bool:
        """Whether both are there."""
        return self.tools.is_dir() and self.kernel.is_dir()


def find(cache: Cache, say: Say) -> Parts:
    """Give both parts; what is missing is downloaded. Once a week the mirror is asked for newer ones.

    Raises ``GuestError`` in one line: not Debian, no network, a full disk.
    """
    known = _known(cache)
    if known and known.whole and not _old(cache):
        return known
    with cache.locked(say):
        known = _known(cache)
        if known and known.whole and not _old(cache):
            return known
        try:
            return _fetch(cache, say)
        except GuestError as error:
            if not known or not known.whole:
                raise
            say(f"no newer QEMU and kernel: {error}")
            return known


def _pointer(cache: Cache) -> Path:
    return cache.folder / "resolved.json"


def _known(cache: Cache) -> Parts | None:
    try:
        names = json.loads(_pointer(cache).read_text())
        return Parts(cache.folder / names["tools"], cache.folder / names["kernel"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _old(cache: Cache) -> bool:
    return time.time() - _pointer(cache).stat().st_mtime > FRESH


def _fetch(cache: Cache, say: Say) -> Parts:
    free = shutil.disk_usage(cache.folder).free
    if free < NEEDED:
        raise GuestError(f"the disk of {cache.folder} is full: {free // 1_000_000} MB are free", cure=SPACE)
    say("asking the mirror for QEMU and a kernel")
    apt = Apt(cache.folder / "apt")
    (cache.folder / "apt").mkdir(exist_ok=True)
    apt.update()
    tools, kernel = _chosen(apt, TOOLS), _chosen_kernel(apt)
    parts = Parts(
        cache.part(_name("tools", tools), lambda new: _make_tools(apt, tools, new, say)),
        cache.folder / _name("kernel", kernel),
    )
    cache.part(parts.kernel.name, lambda new: _make_kernel(apt, kernel, new, parts, say))
    _point(cache, parts)
    cache.forget([parts.tools, parts.kernel])
    return parts


def _name(kind: str, debs: Sequence[Deb]) -> str:
    return part_name(kind, [RECIPE, *(deb.file for deb in debs)])


def _chosen(apt: Apt, packages: Sequence[str]) -> list[Deb]:
    debs = apt.resolve(*packages)
    missing = set(packages) - {deb.name for deb in debs}
    if missing:
        raise GuestError(f"the mirror has no {', '.join(sorted(missing))}", cure="see what apt-get says")
    return debs


def _chosen_kernel(apt: Apt) -> list[Deb]:
    debs = [deb for deb in apt.resolve(KERNEL) if re.match(r"linux-image-\d", deb.name)]
    if len(debs) != 1:
        raise GuestError(f"the mirror has no kernel that {KERNEL} stands for", cure="see what apt-get says")
    return debs


def _unpack(apt: Apt, debs: Sequence[Deb], into: Path) -> None:
    archives = into / "archives"
    archives.mkdir()
    apt.download(debs, archives)
    for archive in sorted(archives.iterdir()):
        output(["dpkg-deb", "-x", str(archive), str(into)], into)
    shutil.rmtree(archives)


def _make_tools(apt: Apt, debs: Sequence[Deb], new: Path, say: Say) -> None:
    say(f"fetching QEMU, in {len(debs)} packages")
    _unpack(apt, debs, new)
    (new / "run").mkdir()
    # The package's own links lead to the machine's /bin/kmod, which need not be there.
    for name in ("modprobe", "depmod"):
        (new / "run" / name).symlink_to(
            "../bin/kmod" if (new / "bin" / "kmod").exists() else "../usr/bin/kmod"
        )


def _make_kernel(apt: Apt, debs: Sequence[Deb], new: Path, parts: Parts, say: Say) -> None:
    say(f"fetching {debs[0].name}")
    _unpack(apt, debs, new)
    for folder in new.glob("usr/lib/modules"):
        (new / "lib").mkdir(exist_ok=True)
        folder.rename(new / "lib" / "modules")
    release = next((new / "lib" / "modules").iterdir()).name
    (new / "boot" / f"vmlinuz-{release}").rename(new / "vmlinuz")
    depmod = str(parts.tools / "run" / "depmod")
    output([depmod, "-b", str(new), release], new, parts.libraries)


def _point(cache: Cache, parts: Parts) -> None:
    new = cache.folder / "resolved.json.fresh"
    new.write_text(json.dumps({"tools": parts.tools.name, "kernel": parts.kernel.name}))
    os.replace(new, _pointer(cache))  # noqa: PTH105 # as atomic as its name in the manual
