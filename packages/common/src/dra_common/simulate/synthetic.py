"""What may be written to a ``uevent`` file (ABI document sysfs-uevent, ``lib/kobject_uevent.c``)."""

from __future__ import annotations

import errno
import re

from dra_common.simulate.errnos import refuse

_ACTIONS = ("add", "remove", "change", "move", "online", "offline", "bind", "unbind")
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_WRITTEN = re.compile(rf"({'|'.join(_ACTIONS)})(?: ({_UUID})((?: [0-9a-zA-Z]+=[0-9a-zA-Z]+)*))?\n?")


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Return the action and the properties that tell a synthetic event from a real one. Raises EINVAL."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise refuse(errno.EINVAL, f"uevent {text!r}")
    action, mark, arguments = written.groups(default="")
    pairs = (argument.partition("=") for argument in arguments.split())
    return action, {"SYNTH_UUID": mark or "0", **{f"SYNTH_ARG_{name}": value for name, _, value in pairs}}
