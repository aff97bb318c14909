from __future__ import annotations

from dra_common.ports import Uevent
from dra_common.simulate.kernel import Kernel

MARK = "12345678-1234-1234-1234-123456789abc"
PF = "bus/pci/devices/0000:01:00.0"


def written(kernel: Kernel, path: str, text: str) -> dict[str, str]:
    heard: list[Uevent] = []
    end = kernel.hub.listen(heard.append)
    kernel.write(path, text)
    end()
    (event,) = heard
    return dict(event.properties or {})


def test_a_replayed_event_says_that_it_is_one(kernel: Kernel) -> None:
    properties = written(kernel, f"{PF}/uevent", "change")
    assert properties["SYNTH_UUID"] == "0"
    assert properties["DRIVER"] == "igb"


def test_a_replayed_event_carries_what_its_sender_said(kernel: Kernel) -> None:
    properties = written(kernel, f"{PF}/uevent", f"add {MARK} A=1 B=two\n")
    sent = {key: value for key, value in properties.items() if key.startswith("SYNTH")}
    assert sent == {"SYNTH_UUID": MARK, "SYNTH_ARG_A": "1", "SYNTH_ARG_B": "two"}


def test_a_driver_replays_too(kernel: Kernel) -> None:
    properties = written(kernel, "bus/pci/drivers/igb/uevent", "add")
    assert properties["SUBSYSTEM"] == "drivers"
    assert properties["DEVPATH"] == "/bus/pci/drivers/igb"
