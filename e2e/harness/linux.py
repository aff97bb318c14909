"""System calls that Python 3.11 has no function for; each raises ``OSError`` with the kernel's errno.

Source: the manual pages unshare(2), setns(2), mount(2), umount2(2), prctl(2).
"""

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), what)


def unshare(flags: int) -> None:
    """Give the caller namespaces of its own; that of processes takes effect for its children."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def enter(namespace: Path) -> None:
    """Move the calling thread into the namespace that this file of ``/proc/PID/ns`` stands for."""
    with namespace.open("rb") as opened:
        _check(_libc.setns(ctypes.c_int(opened.fileno()), ctypes.c_int(0)), str(namespace))


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount ``source`` of the file system type ``kind`` on ``target``."""
    arguments = [source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags)]
    _check(_libc.mount(*arguments, options.encode() or None), f"mount {kind} on {target}")


def bind(source: str, target: str) -> None:
    """Let the file or folder ``target`` be ``source`` too."""
    mount(source, target, flags=MS_BIND)


def umount(target: str, *, detach: bool = False) -> None:
    """Take the uppermost mount off ``target``; with ``detach`` even if something uses it."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH if detach else 0)), f"umount {target}")


def die_with_parent(signal: int) -> None:
    """Let the kernel send this process ``signal`` when the thread that made it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "prctl")
