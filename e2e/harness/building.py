"""One run of ``go build`` for all tools of a go.mod, with progress and errors for a person.

Source: https://go.dev/ref/mod#go-mod-file-tool, and ``go help build``.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError

Say = Callable[[str], None]
TAGS = "no_btrfs no_zfs no_devmapper no_aufs"
# -mod=readonly: what is built is what go.sum has the checksums of.
FLAGS = "-mod=readonly -buildvcs=false -trimpath"
STAMPED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
INSTALL_GO = "install Go {version} or newer, see https://go.dev/doc/install"
SPACE = "free about 6 GB there, or set XDG_CACHE_HOME, GOCACHE and GOMODCACHE to folders with room"
FULL = "no space left on device"
SAY_EVERY = 30.0


class GoBuild:
    """A folder with go.mod and go.sum, and the ``go`` on PATH. Raises ``HarnessError`` if that cannot build it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mod = (folder / "go.mod").read_text()
        self._wanted = self._required(r"^go (\S+)$")
        if not shutil.which("go"):
            raise HarnessError("go is missing", cure=INSTALL_GO.format(version=self._wanted))
        have = re.search(r"go(\d+(?:\.\d+)+)", self.go_version())
        if not have or _numbers(have[1]) < _numbers(self._wanted):
            said = self.go_version()
            raise HarnessError(f"{said} is too old", cure=INSTALL_GO.format(version=self._wanted))

    def _required(self, pattern: str) -> str:
        found = re.search(pattern, self._mod, re.MULTILINE)
        if not found:
            raise HarnessError(f"{self.folder / 'go.mod'} has no line {pattern}", cure="make it with pin.py")
        return found[1]

    def go_version(self) -> str:
        """Say which go would build it."""
        return self._go("version").strip()

    def recipe(self) -> str:
        """Give all that decides what comes out, besides the sources and go itself."""
        return f"{TAGS}\n{FLAGS}\n{self._stamps()}"

    def module_folder(self, module: str) -> Path:
        """Give the folder of a module's sources."""
        return Path(self._go("list", "-m", "-f", "{{.Dir}}", module).strip())

    def _stamps(self) -> str:
        """Give linker flags: without them every program says that it is v0.0.0-master."""
        kubernetes = self._required(r"^\s*k8s\.io/kubernetes v(\S+)$")
        containerd = self._required(r"^\s*github\.com/containerd/containerd/v2 v(\S+)$")
        major, minor, _ = kubernetes.split(".", 2)
        values = {
            "gitVersion": f"v{kubernetes}",
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
        }
        values["buildDate"] = "1970-01-01T00:00:00Z"
        stamps = [f"-X {package}.{name}={value}" for package in STAMPED for name, value in values.items()]
        stamps.append(f"-X github.com/containerd/containerd/v2/version.Version={containerd}")
        return " ".join(["-s", "-w", *stamps])

    def _environment(self) -> dict[str, str]:
        # The caller's own flags (-p=1, say) come first: what is ours wins.
        flags = f"{os.environ.get('GOFLAGS', '')} {FLAGS}".strip()
        return os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": flags}

    def _go(self, *arguments: str) -> str:
        done = subprocess.run(
            ["go", *arguments],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise _failure(f"go {arguments[0]}", done.stderr.splitlines())
        return done.stdout

    def run(self, into: Path, say: Say) -> None:
        """Build every tool into the folder ``into``."""
        say("listing (and, the first time, downloading) the sources")
        total = len(self._go("list", "-deps", "tool").split())
        say(
            f"building {total} packages with {self.go_version()}; the first time this takes some 10 to 20 minutes"
        )
        # A killed builder must not leave another one at work on what the next one removes.
        command = ["setpriv", "--pdeathsig", "KILL", "go", "build", "-v"]
        command += ["-tags", TAGS, "-ldflags", self._stamps(), "-o", f"{into}/", "tool"]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            said = _follow(process, total, say)
        if process.returncode:
            raise _failure("go build", said)


def _follow(process: "subprocess.Popen[str]", total: int, say: Say) -> list[str]:
    """Show how far it is; return the lines that are not names of packages."""
    other: list[str] = []
    count, last = 0, time.monotonic()
    for line in process.stderr or ():
        name = line.strip()
        if re.fullmatch(r"[\w./@~+-]+", name):
            count += 1
        else:
            other.append(name)
        if time.monotonic() - last > (1 if sys.stderr.isatty() else SAY_EVERY):
            last = time.monotonic()
            say(f"built {count} of at most {total} packages: {name}")
    return other


def _failure(command: str, said: list[str]) -> HarnessError:
    full = next((line for line in said if FULL in line.lower()), None)
    if full:
        return HarnessError(f"disk full while building: {full}", cure=SPACE)
    return HarnessError(f"{command} failed: {_last_words(said)}")


def _last_words(said: list[str]) -> str:
    lines = [line.strip() for line in said if line.strip() and not line.startswith("go: downloading")]
    return "; ".join(lines[-3:]) or "it said nothing"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
