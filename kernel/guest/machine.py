"""One guest: a QEMU process that is gone when this one is, and a folder that its result comes from.

Whether a command succeeded is in the file ``code`` of that folder and nowhere else: how QEMU ends says nothing of it.
"""

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from guest import initramfs, qemu
from guest.errors import GuestError
from guest.parts import Parts
from guest.programs import SPACE, supervised

INTERVAL = 0.1
# Seconds until the command begins, for each boot. Of some dozens one stands still since the emulated timer of a
# processor does: nothing was done by then, so it is booted again.
PATIENCE = (120.0, 120.0, float("inf"))
# What the kernel says when its timer stands still, and the seconds without a word of the command that make it sure.
STILL, SILENCE = "Possible timer handling issue", 120.0
PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
MEMORY = "the guest needs 2 GB of memory"

Tell = Callable[[bytes], object]


class Machine:
    """A guest that runs one command and ends.

    Args:
        folder: is made; afterwards it has ``console``, ``stdout``, ``code``, and whatever the command put into
            ``/run/guest``.
        devices: values of QEMU's ``-device``.
        shares: folders that the guest can mount and write to, by 9p's tag; they outlast it.
    """

    def __init__(
        self,
        parts: Parts,
        folder: Path,
        devices: Sequence[str] = qemu.DEVICES,
        shares: Mapping[str, Path] | None = None,
    ) -> None:
        self._parts = parts
        self._devices = devices
        self._shares = shares or {}
        self.folder = folder.resolve()
        self.console = self.folder / "console"

    def run(self, command: str, timeout: float, tell: Tell | None = None, *, repeatable: bool = False) -> int:
        """Give the exit status of a shell command; ``tell`` gets its output as it comes.

        ``repeatable``: may begin again, in another guest, if the timer of the first one stands still.
        Raises ``GuestError``: QEMU does not start, the kernel panicked, no result within ``timeout`` seconds, no space.
        """
        deadline = time.monotonic() + timeout
        ended, status = False, 0
        for patience in PATIENCE:
            self._prepare(command)
            with self._process() as process:
                try:
                    ended = self._wait(process, deadline, time.monotonic() + patience, tell)
                finally:
                    process.kill()
            status = process.returncode
            if ended or time.monotonic() > deadline or (self._begun and not repeatable):
                break
        if not ended and self._code() is None:
            if STILL in self._console():
                raise self._nothing("the guest's emulated timer stood still", cure="run it again")
            raise self._nothing(f"the guest gave no result within {timeout:g} s and was ended")
        return self._result(status)

    @property
    def release(self) -> str:
        """What ``uname -r`` says in the guest."""
        return self._parts.release

    def shell(self, command: str) -> int:
        """Let the command talk with the terminal. Raises ``GuestError`` as ``run`` does."""
        self._prepare(command)
        (self.folder / "shell").touch()
        with self._process(talks=True) as process:
            try:
                process.wait()
            finally:
                process.kill()
        return self._result(process.returncode)

    def _prepare(self, command: str) -> None:
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            (self.folder / "command").write_text(f"{command}\n")
            modules = self._parts.kernel / "lib" / "modules"
            places = f"MODULES={shlex.quote(str(modules))}\nTOOLS={shlex.quote(str(self._parts.tools))}\n"
            (self.folder / "places").write_text(places)
            (self.folder / "initramfs").write_bytes(initramfs.build(self._parts))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise GuestError(
                    f"the disk of {self.folder} is full", cure="free some 10 MB there"
                ) from error
            why = f"{error.filename or self.folder}: {error.strerror}"
            raise GuestError(f"the guest cannot be prepared: {why}") from error

    def _process(self, *, talks: bool = False) -> "subprocess.Popen[bytes]":
        libraries = ":".join(map(str, self._parts.libraries))
        modules = str(self._parts.libraries[0] / "qemu")
        with (self.folder / "qemu").open("wb") as said:
            return subprocess.Popen(
                supervised(
                    qemu.command(self._parts, self.folder, self._devices, self._shares, terminal=talks)
                ),
                env=os.environ | {"LD_LIBRARY_PATH": libraries, "QEMU_MODULE_DIR": modules},
                stdin=None if talks else subprocess.DEVNULL,
                stdout=None if talks else said,
                stderr=said,
            )

    def _wait(
        self, process: "subprocess.Popen[bytes]", deadline: float, begin_by: float, tell: Tell | None
    ) -> bool:
        """Pass on what the command says until QEMU ends; False if a deadline came first, or the guest stands still."""
        told, heard = 0, time.monotonic()
        while True:
            ended = process.poll() is not None
            now = time.monotonic()
            if fresh := self._pass_on(told, tell):
                told, heard = told + fresh, now
            if ended or now > deadline or (now > begin_by and not self._begun):
                return ended
            if now > heard + SILENCE and STILL in self._console():
                return False
            time.sleep(INTERVAL)

    @property
    def _begun(self) -> bool:
        return (self.folder / "stdout").exists() or self._code() is not None

    def _pass_on(self, told: int, tell: Tell | None) -> int:
        stdout = self.folder / "stdout"
        if not stdout.exists():
            return 0
        with stdout.open("rb") as file:
            file.seek(told)
            fresh = file.read()
        if fresh and tell:
            tell(fresh)
        return len(fresh)

    def _code(self) -> int | None:
        try:
            return int((self.folder / "code").read_text())
        except (OSError, ValueError):
            return None

    def _result(self, status: int) -> int:
        code = self._code()
        if code is not None:
            return code
        panic = PANIC.search(self._console())
        if panic:
            raise self._nothing(f"the guest's kernel panicked: {panic[1].strip()}")
        lines = (self.folder / "qemu").read_text(errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip() and "warning:" not in line]
        if said:
            cure = SPACE if "No space left" in said[-1] else MEMORY if "memory" in said[-1] else ""
            raise self._nothing(f"QEMU ended with status {status}: {said[-1]}", cure=cure)
        raise self._nothing("the guest ended without a result")

    def _console(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def _nothing(self, message: str, cure: str = "") -> GuestError:
        return GuestError(message, cure=cure, console=self.console)


def to_stdout(data: bytes) -> None:
    """Show what a command in the guest says, as it says it."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
