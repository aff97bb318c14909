"""The driver of :mod:`dra_common.testing.nic` as a program: ``python -m`` this module ``run ...``."""

from __future__ import annotations

import sys

from dra_common.cli import main as run_command
from dra_common.definition import Definition
from dra_common.testing.nic.driver import NicDriver
from dra_common.testing.nic.simulation import SIMULATION

DEFINITION = Definition(
    program="nic-driver",
    distribution="dra-common",
    title="Network cards with SR-IOV, for tests: a claim gets a PF whole or as VFs.",
    driver=NicDriver(),
    simulation=lambda: SIMULATION,
)


if __name__ == "__main__":
    sys.exit(run_command(DEFINITION))
