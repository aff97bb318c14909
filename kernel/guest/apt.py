"""Debian packages by a private apt: its own lists and sources; the machine's apt and dpkg are read, never changed.

Source: the manual pages apt.conf(5), apt-get(8), sources.list(5).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from guest.errors import GuestError
from guest.programs import output

RELEASE = "bookworm"
BACKPORTS = f"{RELEASE}-backports"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# With -c this is read after the machine's files, whose proxies count and whose hooks, which touch the machine, do not.
CONFIGURATION = """
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Sandbox::User "";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
"""


@dataclass(frozen=True, slots=True)
class Deb:
    """A package that apt chose, by the name of its file: ``name_version_architecture.deb``."""

    file: str

    @property
    def name(self) -> str:
        """Name of the package."""
        return self.file.partition("_")[0]

    @property
    def version(self) -> str:
        """Version; the file has its colon as ``%3a``."""
        return unquote(self.file.split("_")[1])


class Apt:
    """An apt whose lists are below ``folder``. One process at a time may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "apt.conf"

    def update(self) -> None:
        """Fetch the lists anew. Raises ``GuestError``: no Debian mirror configured, no network."""
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._file.write_text(CONFIGURATION.format(folder=self._folder))
        (self._folder / "sources.list").write_text("\n".join(_sources(self._machines_targets())) + "\n")
        self._get("-qq", "--error-on=any", "update")

    def resolve(self, *packages: str) -> list[Deb]:
        """Name what has to be unpacked: these packages, and what they need that is not installed here."""
        printed = self._get(
            "-qq",
            "install",
            "--print-uris",
            "--reinstall",
            "--no-install-recommends",
            "--target-release",
            BACKPORTS,
            *packages,
        )
        files = re.findall(r"^'[^']+' (\S+_\S+\.deb) ", printed, re.MULTILINE)
        return sorted({Deb(file) for file in files}, key=lambda deb: deb.file)

    def download(self, debs: Iterable[Deb], into: Path) -> None:
        """Put the files into a folder, their checksums verified."""
        self._get("-qq", "download", *(f"{deb.name}={deb.version}" for deb in debs), folder=into)

    def _get(self, *arguments: str, folder: Path | None = None) -> str:
        return output(["apt-get", "-c", str(self._file), *arguments], folder or self._folder)

    def _machines_targets(self) -> str:
        layout = "$(RELEASE) $(REPO_URI) $(COMPONENT)"
        return output(["apt-get", "indextargets", "--format", layout, "Created-By: Packages"], self._folder)


def _sources(targets: str) -> list[str]:
    """Give the machine's own sources of Debian 12, and its backports from the mirror that has the release."""
    rows = [line.split() for line in targets.splitlines()]
    found = {(uri, suite) for suite, uri, component in rows if component == "main" and _ours(suite)}
    mirrors = sorted(uri for uri, suite in found if suite == RELEASE)
    if not mirrors:
        cure = "run it on Debian 12, or add a source of Debian 12 to the machine's apt"
        raise GuestError(f"apt has no source of Debian {RELEASE} here to fetch QEMU from", cure=cure)
    found.add((mirrors[0], BACKPORTS))
    return [f"deb [signed-by={KEYRING}] {uri} {suite} main" for uri, suite in sorted(found)]


def _ours(suite: str) -> bool:
    return suite == RELEASE or suite.startswith(f"{RELEASE}-")
