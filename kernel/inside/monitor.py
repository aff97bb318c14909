"""QEMU's monitor, on the guest's second serial port: pulls hardware out of the machine, and puts it in.

Source: QEMU's document of its monitor (HMP).
"""

from __future__ import annotations

import os
import select
import tty
from types import TracebackType
from typing import Self

PORT = "/dev/ttyS1"
PROMPT = b"(qemu) "
SECONDS = 60.0


class Monitor:
    """A conversation, used as a context manager."""

    def __enter__(self) -> Self:
        self._port = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
        # Before anything is read: the port would send the greeting back, which QEMU would take for a command.
        tty.setraw(self._port)
        # Whatever it did send back is a line of its own.
        os.write(self._port, b"\r")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._port)

    def say(self, command: str) -> None:
        """Give a command. Raises ``RuntimeError``: QEMU has something to say about it."""
        os.write(self._port, f"{command}\r".encode())
        # It is echoed letter by letter; the whole line is there once, erased to its end, when it has been taken.
        echo, said = f"{command}\x1b[K\r\n".encode(), b""
        while not (echo in said and said.endswith(PROMPT)):
            if not select.select([self._port], [], [], SECONDS)[0]:
                raise TimeoutError(f"QEMU's monitor said {said!r}")
            said += os.read(self._port, 4096)
        answer = said.partition(echo)[2].removesuffix(PROMPT).decode().strip()
        if answer:
            raise RuntimeError(f"{command}: {answer}")
