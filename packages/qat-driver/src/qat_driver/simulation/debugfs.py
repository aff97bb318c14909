"""The folder of debugfs: ABI documents debugfs-driver-qat and debugfs-driver-qat_telemetry.

The kernel looks for a heartbeat when ``status`` is read. Here ``status`` says at once what a reader would find, and how
often it was read is not counted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from dra_common.simulate import Function, Machine, parse_bool, parse_unsigned, refuse

from qat_driver.simulation.facts import (
    RING_PAIRS,
    debug_folder,
    has_qat_folder,
    product_of,
    services_of,
    since,
)

_SHORTEST_BEAT = 200
"""Milliseconds between two looks for a heartbeat; the period of the fourth generation."""
_USUAL_BEAT = 500
_MOST_SAMPLES = 4
_ENGINES = 8


def add(machine: Machine, pf: Function, failed: Callable[[], None]) -> None:
    """Add the folder; ``failed`` is what the driver does when the heartbeat fails."""
    folder = debug_folder(pf)
    machine.add_file(f"{folder}/dev_cfg", _configuration(machine, pf))
    if since(machine, 6, 6):
        machine.add_file(f"{folder}/fw_counters", _engines(), mode=0o400)
        _add_heartbeat(machine, pf, failed)
    if since(machine, 6, 7):
        machine.add_file(
            f"{folder}/cnv_errors", "AE" + "".join(f"\n{ae}: 0" for ae in range(_ENGINES)), mode=0o400
        )
        if has_qat_folder(machine, pf):
            machine.add_file(f"{folder}/pm_status", "power_state D0\nidle 0", mode=0o400)
    if has_qat_folder(machine, pf) and since(machine, 6, 8):
        _add_telemetry(machine, folder)


def remove(machine: Machine, pf: Function) -> None:
    """Remove it; fine if it is not there."""
    machine.remove(debug_folder(pf))


def hang(machine: Machine, pf: Function) -> None:
    """Let it not answer the heartbeat until it is started again."""
    folder = f"{debug_folder(pf)}/heartbeat"
    if machine.sys.exists(folder):
        machine.set_file(f"{folder}/status", "-1")
        machine.set_file(f"{folder}/queries_failed", "1")


def _configuration(machine: Machine, pf: Function) -> str:
    """Return the sections of the device's configuration (``adf_cfg.c``)."""
    services = services_of(machine, pf)
    general = f"[GENERAL]\nServicesEnabled = {services}\n" if services else "[GENERAL]\n"
    return f"{general}[KERNEL]\nNumberCyInstances = 0\nNumberDcInstances = 0"


def _engines() -> str:
    return "\n".join(f"AE {number}: 0 requests, 0 responses" for number in range(_ENGINES))


def _add_heartbeat(machine: Machine, pf: Function, failed: Callable[[], None]) -> None:
    folder = f"{debug_folder(pf)}/heartbeat"
    period = _USUAL_BEAT if product_of(pf).services_since is None else _SHORTEST_BEAT
    machine.add_file(f"{folder}/config", str(period), store=partial(_store_period, machine, folder))
    for name in ("queries_failed", "queries_sent", "status"):
        machine.add_file(f"{folder}/{name}", "0")
    if since(machine, 6, 9):
        store = partial(_store_injection, machine, pf, failed)
        machine.add_file(f"{folder}/inject_error", "", store=store, mode=0o200)


def _store_period(machine: Machine, folder: str, text: str) -> None:
    period = parse_unsigned(text, 32)
    if period < _SHORTEST_BEAT:
        raise refuse(errno.EINVAL, repr(text))
    machine.set_file(f"{folder}/config", str(period))


def _store_injection(machine: Machine, pf: Function, failed: Callable[[], None], text: str) -> None:
    if parse_bool(text):
        hang(machine, pf)
        failed()


def _add_telemetry(machine: Machine, folder: str) -> None:
    place = f"{folder}/telemetry"
    machine.add_file(f"{place}/control", "0", store=partial(_store_control, machine, place))
    machine.add_file(f"{place}/device_data", "")
    for number, letter in enumerate("ABCD"):
        path = f"{place}/rp_{letter}_data"
        machine.add_file(path, f"rp_num {number}", store=partial(_store_selection, machine, path))


def _store_control(machine: Machine, place: str, text: str) -> None:
    samples = parse_unsigned(text, 32)
    if samples > _MOST_SAMPLES:
        raise refuse(errno.EINVAL, repr(text))
    machine.set_file(f"{place}/control", str(samples))
    values = "sample_cnt 0\npci_trans_cnt 0\nutil_cph0 0\nutil_cpr0 0\nutil_xlt0 0"
    machine.set_file(f"{place}/device_data", values if samples else "")


def _store_selection(machine: Machine, path: str, text: str) -> None:
    number = parse_unsigned(text, 32)
    if number >= RING_PAIRS:
        raise refuse(errno.EINVAL, repr(text))
    machine.set_file(path, f"rp_num {number}")
