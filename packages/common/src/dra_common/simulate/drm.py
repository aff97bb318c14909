"""DRM nodes, the same for every kernel driver that has some."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function
from dra_common.simulate.kernel_driver import IdDriver
from dra_common.simulate.machine import Machine

MAJOR = 226
FIRST_RENDER = 128
_FIRST_CONTROL = 64

METHODS = frozenset({"none", "rebind", "bus-reset", "vendor-specific", "unknown"})
"""How a wedged device may be recovered."""


@dataclass(frozen=True, slots=True)
class Card:
    """Folders of the nodes of one function; ``render`` is empty if it has no render node."""

    card: str
    render: str = ""


def add_card(
    machine: Machine,
    function: Function,
    *,
    render: bool = True,
    modeset: bool = False,
    files: Mapping[str, str] | None = None,
) -> Card:
    """Add ``drm/cardN``, ``drm/renderDM``, their nodes and udev's ``dri/by-path`` links.

    Each kind has the lowest free number, independently of the other. ``files`` are attributes of the card's folder.
    ``modeset``: it can drive a display; then there is a link ``controlD<64 + N>`` to the card too, which is no node.
    """
    folders = {"render": ""}
    if render:
        folders["render"] = _add_minor(machine, function, "render", FIRST_RENDER, {})
    folders["card"] = _add_minor(machine, function, "card", 0, files or {})
    if modeset:
        folder, _, card = folders["card"].rpartition("/")
        link = f"{folder}/controlD{_FIRST_CONTROL + int(card.removeprefix('card'))}"
        machine.add_link(link, folders["card"], owner=function)
    return Card(**folders)


def _add_minor(machine: Machine, function: Function, kind: str, first: int, files: Mapping[str, str]) -> str:
    number = machine.allocate(f"drm-{kind}", first, owner=function)
    name = f"renderD{number}" if kind == "render" else f"card{number}"
    machine.add_dev_link(f"dri/by-path/pci-{function.bdf}-{kind}", f"../{name}", owner=function)
    return machine.add_class_device(
        function.folder,
        "drm",
        name,
        dev=(MAJOR, number),
        devname=f"dri/{name}",
        devtype="drm_minor",
        files=files,
        owner=function,
    )


def wedge(machine: Machine, function: Function, methods: str) -> None:
    """Let the driver say that the device hangs, and what may bring it back: ``rebind,bus-reset``, or ``none``.

    With ``none`` it has recovered by itself (Documentation/gpu/drm-uapi.rst). Otherwise it is wedged until it is bound
    again. Raises OSError: EOPNOTSUPP (no card), EINVAL (no such method).
    """
    if not methods or not set(methods.split(",")) <= METHODS:
        raise refuse(errno.EINVAL, f"{methods!r} is not of {', '.join(sorted(METHODS))}")
    card = next((name for name in machine.class_devices(function, "drm") if _is_card(name)), "")
    if not card:
        raise refuse(errno.EOPNOTSUPP, f"{function.bdf} has no card")
    if methods != "none" and not function.wedged:
        function.wedged = True
        machine.on_release(function, lambda: _mend(function))
    machine.change(card, {"WEDGED": methods})


def _mend(function: Function) -> None:
    function.wedged = False


def _is_card(folder: str) -> bool:
    return folder.rpartition("/")[2].startswith("card")


class DisplayDriver(IdDriver):
    """A plain display adapter with a card and no render node: the BMC of a server (``ast``)."""

    def __init__(self, name: str, ids: Iterable[str], *, module: str = "") -> None:
        super().__init__(name, ids, module=module)

    def probe(self, machine: Machine, function: Function) -> None:
        """Add the card."""
        add_card(machine, function, render=False, modeset=True)
