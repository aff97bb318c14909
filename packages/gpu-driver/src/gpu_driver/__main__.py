"""``gpu-driver``: the DRA driver for Intel GPUs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dra_common.cli import main as run_command
from dra_common.definition import Definition

from gpu_driver.driver import GpuDriver
from gpu_driver.health import GpuHealth

if TYPE_CHECKING:
    # The annotations alone would load the simulated kernel, and YAML, into every driver.
    from dra_common.ports import HealthSource
    from dra_common.settings import Settings
    from dra_common.simulate import Simulation


def _simulation() -> Simulation:
    from gpu_driver.simulation import SIMULATION  # noqa: PLC0415 - only for simulated machines

    return SIMULATION


def _xpumd(settings: Settings) -> HealthSource:
    from gpu_driver.xpumd import XpumdSource  # noqa: PLC0415 - loads grpc, which most commands do not need

    del settings
    return XpumdSource(Path(_DRIVER.policy.xpumd_socket))


_DRIVER = GpuDriver()

DEFINITION = Definition(
    program="gpu-driver",
    distribution="dra-gpu-driver",
    title="Kubernetes DRA driver for Intel GPUs: publishes the GPUs of a node and gives claims their devices.",
    driver=_DRIVER,
    simulation=_simulation,
    health=GpuHealth(_DRIVER.policy_of),
    health_sources={"xpumd": _xpumd},
)


def main() -> None:
    """Run one command of the command line."""
    sys.exit(run_command(DEFINITION))


if __name__ == "__main__":
    main()
