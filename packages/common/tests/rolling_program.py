"""A driver of knobs as a program, whose name, release and patience the test chooses through its environment.

``ROLLING_NAME``: the driver's name. ``ROLLING_HOLD``: a file; while it is there, whoever prepares knob ``a`` waits in
``apply``, with all locks, after having made ``<it>.entered``. ``ROLLING_NEWER``: be a release that notes more in its
records and publishes more of its devices than this one. The distribution's version is whatever its metadata on
PYTHONPATH says.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dra_common.kubelet.service
import dra_common.records
from dra_common.cli import main
from dra_common.codec import encode
from dra_common.definition import Definition
from dra_common.driver import NO_MODES, Published
from dra_common.model import ClaimRecord, ParentMode, Plan
from dra_common.ports import Host
from dra_common.simulate import Simulation
from dra_common.testing.knobs import DRIVER, Knob, KnobDriver

NEWER = "ROLLING_NEWER" in os.environ


class PatientKnobs(KnobDriver):
    """Waits while it is held, and tells more when it is newer."""

    name = os.environ.get("ROLLING_NAME", DRIVER)
    hold = Path(os.environ["ROLLING_HOLD"])

    def apply(self, plan: Plan, host: Host) -> None:
        """Set the levels, once nobody holds us."""
        super().apply(plan, host)
        while self.hold.exists() and plan.devices[0].allocated.device == "a":
            self.hold.with_name(f"{self.hold.name}.entered").touch()
            time.sleep(0.01)

    def publish(self, hardware: Mapping[str, Knob], modes: Mapping[str, ParentMode] = NO_MODES) -> Published:
        """Publish what this release does, and more."""
        published = super().publish(hardware, modes)
        if not NEWER:
            return published
        more = (replace(each, attributes={**each.attributes, "colour": "red"}) for each in published.devices)
        return replace(published, devices=tuple(more))


def encode_newer(record: ClaimRecord) -> bytes:
    """Note what no release has noted so far."""
    return encode(replace(record, unknown={**record.unknown, "record": {"colour": "red"}}))


if __name__ == "__main__":
    # A kubelet with little patience gets its answer in time on a busy machine, too.
    dra_common.kubelet.service._MARGIN_SECONDS, dra_common.kubelet.service._MARGIN_SHARE = 60.0, 0.6  # type: ignore[misc]
    if NEWER:
        dra_common.records.encode = encode_newer
    sys.exit(main(Definition("rolling", "rolling", "Knobs.", PatientKnobs(), lambda: Simulation({}))))
