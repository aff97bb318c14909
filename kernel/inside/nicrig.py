"""The claim engine with the driver of dra_common.testing.nic, on this kernel; and processes of it that die."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

from dra_common.host import RealHost, Roots
from dra_common.model import ClaimRef
from dra_common.pci import Bus, Setting
from dra_common.testing.cdi import ResolvedEdits, resolve
from dra_common.testing.mortal import Mortality, Orders
from dra_common.testing.nic.driver import NicDriver, device_name, opaque
from dra_common.testing.rig import Rig, soon

SECONDS = 120
"""For one call: much more than it ever takes."""


class NicRig(Rig[NicDriver]):
    """A node whose devices are this machine's cards."""

    def __init__(self, root: Path, cdi: Path | None = None) -> None:
        super().__init__(root, NicDriver(), cdi)
        self.begin()

    def begin(self) -> None:
        """Be a new process."""
        host = RealHost(Roots())
        self.open(host, host.boot_id())

    def setting(self, bdf: str) -> Setting:
        """How a PF and its VFs are set now."""
        with Bus(self.host, patience=60) as bus:
            return bus.setting(bdf)

    def nic_claim(self, name: str, bdf: str, **config: object) -> ClaimRef:
        """A claim that has this PF; ``config`` is a NicConfig."""
        return self.claim(name, device_name(bdf), config=[opaque(**config)])

    def resolve(self, ref: ClaimRef) -> ResolvedEdits:
        """Prepare a claim, and give what its containers get."""
        (device,) = self.engine.prepare(ref, soon(SECONDS))
        return resolve(device.cdi_ids, [self.cdi])

    def prepare(self, ref: ClaimRef) -> None:
        self.engine.prepare(ref, soon(SECONDS))

    def unprepare(self, ref: ClaimRef) -> None:
        self.engine.unprepare(ref, soon(SECONDS))

    def in_a_process(
        self,
        act: Callable[[NicRig], object],
        orders: Orders = Orders(),  # noqa: B008 - frozen
        log: Path | None = None,
    ) -> int:
        """Let a new process act, which follows orders; its exit code, -9 if it was killed.

        It is forked: here an interpreter takes half a minute to import the engine.
        """
        child = os.fork()
        if not child:
            code = 1
            try:
                Mortality(orders, log=log).observe()
                self.begin()
                act(self)
                code = 0
            except BaseException:  # noqa: BLE001 - nobody else is left to say it
                traceback.print_exc()
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
