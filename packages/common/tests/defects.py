"""What drivers of such devices have done wrong before, by number: found in those that this project replaces.

A test says with ``@pytest.mark.defect(n, ...)`` which of them it would catch. ``test_defects`` fails for a number
without a test, and the table in docs/dev/testing.md is made from here. ``python defects.py`` prints every defect with
its tests.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from marks import Proof, listed, marked

DEFECTS: Mapping[int, str] = {
    1: "a claim is answered with a CDI id that no file defines",
    2: "a monitor with adminAccess takes the GPU of a running virtual machine back from VFIO",
    3: "a restart changes VFs and kernel drivers under running pods, and forgets who has which device",
    4: "a restart loses the edits of claims, so that their containers cannot be started again",
    5: "a claim's edits get into another driver's file, or into the same file twice, which makes the file invalid",
    6: "free text of a health service becomes the key of a taint, and the API server refuses all devices",
    7: "a health service that goes away ends the driver, and with it prepare and unprepare",
    8: "a VF that gets its kernel driver after it was found is offered, but cannot be prepared",
    9: "changes of the machine are half seen: old nodes, VFs that are gone, a new GPU without memory",
    10: "a claim of several devices fails at one of them, and the others stay as they were changed",
    11: "a device is left without a kernel driver when a bind fails, or is given by its nodes of before",
    12: "a crash or a damaged file keeps the driver from starting; what was true before a reboot counts after it",
    13: "unprepare of a VF that is gone ends the driver; a VF on its own kernel driver cannot go to VFIO",
    14: "pods lose their health after a while, never learn a reason, and hear of some changes only",
    15: "what was unhealthy once stays so; one failed look makes all devices unhealthy",
    16: "one device is given to two claims; adminAccess counts as use; of several devices only one reaches containers",
    17: "a node with more devices than one ResourceSlice may have publishes none",
    18: "a probe waits behind a claim that takes long",
    19: "values of the chart that are not used, have the wrong shape, or make two releases meet",
    20: "a GPU that is in no table is not offered, or not seen at all",
}


def proofs() -> Mapping[int, list[Proof]]:
    """Defect -> the tests that carry its mark."""
    return marked("defect")


if __name__ == "__main__":
    sys.stdout.write(listed(DEFECTS, proofs()))
