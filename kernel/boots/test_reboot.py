"""The power fails while claims are prepared and unprepared; what is on disk is enough to put everything right."""

from pathlib import Path

import pytest
from guest.__main__ import TESTS, environment
from guest.errors import GuestError
from guest.machine import Machine
from guest.parts import Parts

TIMEOUT = 400.0
CARDS = tuple(
    device
    for index in (1, 2, 3)
    for device in (f"pcie-root-port,id=port{index},chassis={index},slot={index}", f"igb,bus=port{index}")
)
MOUNT = "mkdir /run/kept; mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 kept /run/kept"


@pytest.mark.timeout(900)
def test_after_a_power_failure_each_claim_is_kept_or_undone(
    parts: Parts, output: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    program = f"{environment()}; {MOUNT}; python {TESTS}/reboot.py"

    first = Machine(parts, output, devices=CARDS, shares={"kept": kept})
    with pytest.raises(GuestError, match="the guest ended without a result"):
        first.run(f"{program} begin /run/kept", TIMEOUT)
    assert "Traceback" not in (output / "stdout").read_text()

    second = Machine(parts, output, devices=CARDS, shares={"kept": kept})
    said: list[bytes] = []
    assert second.run(f"{program} finish /run/kept", TIMEOUT, said.append) == 0, b"".join(said).decode()
