"""The folder ``qat`` of a physical function: ABI document sysfs-driver-qat, ``adf_sysfs.c``."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from dra_common.simulate import Function, Machine, parse_bool, parse_unsigned, refuse

from qat_driver.services import DCC, is_legal
from qat_driver.simulation.details import details_of
from qat_driver.simulation.facts import RING_PAIRS, is_up, product_of, services_of, since

if TYPE_CHECKING:
    from qat_driver.simulation.qat import Qat

_STATES = ("up", "down")
_DEFAULTS = ("sym;asym", "dc")
_ORDER = ("asym", "sym", "dc", "decomp", "dcc")
"""In which the kernel shows a set since 6.16, and gives ring pairs to it."""


def add(machine: Machine, pf: Function, number: int, driver: Qat) -> None:
    """Add the attributes; ``number`` is that of the accelerator, on which its services depend at first."""
    details = details_of(pf)
    texts = {
        "state": details.state,
        "cfg_services": details.services or _DEFAULTS[number % 2],
        "pm_idle_enabled": "1",
    }
    stores = {
        "state": partial(_store_state, machine, pf, driver),
        "cfg_services": partial(_store_services, machine, pf),
        "pm_idle_enabled": partial(_store_pm_idle, machine, pf),
    }
    if since(machine, 6, 9):
        # What cannot be read before it is written is an empty file.
        texts |= {"auto_reset": _on_off(details.auto_reset), "rp2srv": "", "num_rps": str(RING_PAIRS)}
        stores["auto_reset"] = partial(_store_auto_reset, machine, pf)
        stores["rp2srv"] = partial(_store_ring_pair, machine, pf)
    for name, text in {**texts, **details.says}.items():
        if name not in details.silent:
            machine.add_file(_path(pf, name), text, store=stores.get(name), owner=pf)


def show_state(machine: Machine, pf: Function, state: str) -> None:
    """Let ``state`` say this, where it is there."""
    _show(machine, pf, "state", state)


def auto_reset(machine: Machine, pf: Function) -> bool:
    """Whether the kernel starts it again by itself."""
    path = _path(pf, "auto_reset")
    return machine.sys.exists(path) and machine.sys.read(path) == "on"


def _path(pf: Function, name: str) -> str:
    return f"{pf.folder}/qat/{name}"


def _show(machine: Machine, pf: Function, name: str, text: str) -> None:
    if machine.sys.exists(_path(pf, name)):
        machine.set_file(_path(pf, name), text)


def _store_state(machine: Machine, pf: Function, driver: Qat, text: str) -> None:
    state = text.removesuffix("\n")
    if state not in _STATES:
        raise refuse(errno.EINVAL, repr(text))
    driver.set_state(machine, pf, state)


def _store_services(machine: Machine, pf: Function, text: str) -> None:
    _check_down(machine, pf)
    tokens = text.removesuffix("\n").split(";")
    if len(set(tokens)) < len(tokens) or not is_legal(tokens, product_of(pf)):
        raise refuse(errno.EINVAL, repr(text))
    shown = [each for each in _ORDER if each in tokens] if since(machine, 6, 16) else tokens
    _show(machine, pf, "cfg_services", ";".join(shown))


def _store_pm_idle(machine: Machine, pf: Function, text: str) -> None:
    enabled = parse_bool(text)
    _check_down(machine, pf)
    _show(machine, pf, "pm_idle_enabled", str(int(enabled)))


def _store_auto_reset(machine: Machine, pf: Function, text: str) -> None:
    _show(machine, pf, "auto_reset", _on_off(parse_bool(text)))


def _store_ring_pair(machine: Machine, pf: Function, text: str) -> None:
    number = parse_unsigned(text, 32)
    if number >= RING_PAIRS:
        raise refuse(errno.EINVAL, repr(text))
    enabled = services_of(machine, pf).split(";")
    services = [each for each in _ORDER if each in enabled]
    if not services:
        raise refuse(errno.EINVAL, f"{pf.bdf} has no services")
    service = services[number % len(services)]
    _show(machine, pf, "rp2srv", "dc" if service == DCC else service)


def _check_down(machine: Machine, pf: Function) -> None:
    if is_up(machine, pf):
        raise refuse(errno.EINVAL, f"{pf.bdf} is up")


def _on_off(value: bool) -> str:  # noqa: FBT001 - what it shows
    return "on" if value else "off"
