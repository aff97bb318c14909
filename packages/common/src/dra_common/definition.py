"""What a driver package hands to the command line factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dra_common.driver import Driver, HealthKnowledge

if TYPE_CHECKING:
    from dra_common.ports import HealthSource
    from dra_common.settings import Settings
    from dra_common.simulate import Simulation


@dataclass(frozen=True, slots=True)
class Definition:
    """A driver as a program.

    Args:
        program: the command's name, ``gpu-driver``.
        distribution: the Python distribution whose version it is, ``dra-gpu-driver``.
        title: one line for ``--help``.
        driver: the hardware knowledge.
        simulation: loads profiles and simulated kernel drivers; called only when a simulation is asked for.
        health: what the driver knows of its devices' health; None = nothing.
        health_sources: further sources of health by name, each called only when it is asked for.
        remove_old_taint_rules: whether DeviceTaintRules of the driver that it replaces are removed; None = that has
            none.
        health_monitoring: whether the health of devices is watched unless it is said otherwise.
    """

    program: str
    distribution: str
    title: str
    driver: Driver[Any]
    simulation: Callable[[], Simulation]
    health: HealthKnowledge[Any] | None = None
    health_sources: Mapping[str, Callable[[Settings], HealthSource]] = field(default_factory=dict)
    health_monitoring: bool = False
    remove_old_taint_rules: Callable[[], bool] | None = None
