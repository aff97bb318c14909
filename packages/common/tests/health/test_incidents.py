"""Kernel events that tell of a device's health: what begins with them, and what ends."""

from __future__ import annotations

import pytest
from dra_common.health.incidents import NONE, Incidents, after, mended
from dra_common.model import Severity
from dra_common.ports import Uevent

GPU, OTHER = "0000:03:00.0", "0000:04:00.0"
FOLDER = f"/devices/pci0000:00/0000:00:01.0/{GPU}"


def wedged(methods: str, *, at: str = FOLDER) -> Uevent:
    return Uevent("change", f"{at}/drm/card1", "drm", {"WEDGED": methods, "DEVNAME": "dri/card1"})


def recovery(event: str, *, at: str = FOLDER) -> Uevent:
    return Uevent("change", at, "pci", {"ERROR_EVENT": event})


def pci(action: str, *, at: str = FOLDER) -> Uevent:
    return Uevent(action, at, "pci")


def told(*events: Uevent) -> Incidents:
    found = NONE
    for event in events:
        found = after(found, event)
    return found


def test_a_wedged_device_is_bad_until_it_is_bound_again() -> None:
    finding = told(wedged("rebind,bus-reset"))[GPU]["wedged"]
    assert finding.severity is Severity.CRITICAL
    assert finding.message.endswith("rebind, bus-reset")
    for action in ("unbind", "bind", "remove", "add"):
        assert told(wedged("rebind"), pci(action)) == {}


def test_a_device_that_recovered_by_itself_is_fine() -> None:
    assert told(wedged("none")).get(GPU, {}) == {}
    assert told(wedged("rebind"), wedged("none")) == {GPU: {}}


@pytest.mark.parametrize("methods", ["", "vendor-specific", "something,new"])
def test_methods_that_nobody_knows_are_passed_on(methods: str) -> None:
    message = told(wedged(methods))[GPU]["wedged"].message
    assert (methods.replace(",", ", ") or "unknown") in message


def test_a_failed_recovery_is_a_warning_until_one_succeeds() -> None:
    assert told(recovery("BEGIN_RECOVERY")) == {}
    assert told(recovery("FAILED_RECOVERY"))[GPU]["pcie-recovery"].severity is Severity.WARNING
    assert told(recovery("FAILED_RECOVERY"), recovery("SUCCESSFUL_RECOVERY")) == {GPU: {}}


def test_only_its_own_events_mend_a_device() -> None:
    other = FOLDER.replace(GPU, OTHER)
    found = told(wedged("rebind"), wedged("rebind", at=other), pci("bind", at=other))
    assert list(found) == [GPU]
    # Its card, and the bridge above it, are not the function.
    for event in (
        Uevent("bind", f"{FOLDER}/drm/card1", "pci"),
        pci("bind", at="/devices/pci0000:00/0000:00:01.0"),
    ):
        assert after(found, event) is found
        assert mended(event) != GPU
    assert mended(pci("bind")) == mended(recovery("SUCCESSFUL_RECOVERY")) == GPU
    assert mended(recovery("FAILED_RECOVERY")) == mended(wedged("none")) == ""


@pytest.mark.parametrize(
    "event",
    [
        Uevent("subscribed", ""),
        Uevent("overflow", ""),
        Uevent("change", "/devices/virtual/net/lo", "net", {"WEDGED": "rebind"}),
        Uevent("change", f"{FOLDER}/drm/card1", "drm", {"HOTPLUG": "1"}),
        Uevent("change", f"{FOLDER}/drm/card1", "drm"),
        Uevent("add", f"{FOLDER}/drm/card1", "drm", {"WEDGED": "rebind"}),
        Uevent("bind", "", "pci"),
    ],
)
def test_everything_else_changes_nothing(event: Uevent) -> None:
    known = told(wedged("rebind"))
    assert after(NONE, event) is NONE
    assert after(known, event) is known
    assert mended(event) == ""


def test_what_is_told_twice_is_no_news() -> None:
    known = told(wedged("rebind"))
    assert after(known, wedged("rebind")) is known
