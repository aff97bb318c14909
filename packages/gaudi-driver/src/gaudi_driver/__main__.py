"""``gaudi-driver``: the DRA driver for Intel Gaudi."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dra_common.cli import main as run_command
from dra_common.definition import Definition

from gaudi_driver.driver import GaudiDriver
from gaudi_driver.health import GaudiHealth

if TYPE_CHECKING:
    # The annotations alone would load the simulated kernel, and YAML, into every driver.
    from dra_common.ports import HealthSource
    from dra_common.settings import Settings
    from dra_common.simulate import Simulation


def _simulation() -> Simulation:
    from gaudi_driver.simulation import SIMULATION  # noqa: PLC0415 - only for simulated machines

    return SIMULATION


def _hlml(settings: Settings) -> HealthSource:
    from gaudi_driver.hlml import open_source  # noqa: PLC0415 - loads ctypes, which most commands do not need

    return open_source(settings, lambda: _DRIVER.policy.health_interval)


_DRIVER = GaudiDriver()

DEFINITION = Definition(
    program="gaudi-driver",
    distribution="dra-gaudi-driver",
    title="Kubernetes DRA driver for Intel Gaudi: publishes the Gaudis of a node and gives claims their devices.",
    driver=_DRIVER,
    simulation=_simulation,
    health=GaudiHealth(_DRIVER.policy_of),
    health_sources={"hlml": _hlml},
    health_monitoring=True,
    remove_old_taint_rules=lambda: _DRIVER.policy.remove_old_taint_rules,
)


def main() -> None:
    """Run one command of the command line."""
    sys.exit(run_command(DEFINITION))


if __name__ == "__main__":
    main()
