"""The made-up accelerator of :mod:`dra_common.testing.knobs` as a program: ``python -m`` this module ``run ...``."""

from __future__ import annotations

import sys

from dra_common.cli import main as run_command
from dra_common.definition import Definition
from dra_common.simulate import Simulation
from dra_common.testing.knobs import KnobDriver

DEFINITION = Definition(
    program="knob-driver",
    distribution="dra-common",
    title="A made-up accelerator for tests: devices are files that hold a number.",
    driver=KnobDriver(),
    simulation=lambda: Simulation({}),
)


if __name__ == "__main__":
    sys.exit(run_command(DEFINITION))
