"""What an operator decides for the Gaudis of a cluster: the driver's configuration file."""

from __future__ import annotations

from typing import Annotated

from dra_common.pci.match import PciMatch
from dra_common.policy import (
    DevicePolicy,
    DriverPolicy,
    Flag,
    HealthPolicy,
    Joined,
    Patterns,
    PolicyKind,
    laid_over,
    matches,
)
from pydantic import Field

from gaudi_driver.device import Gaudi

DEFAULT_HOOK = "/usr/bin/habana-container-hook"
_ABSOLUTE = r"^/[^\x00-\x1f]*$"


class GaudiMatch(PciMatch):
    """Which Gaudis: those of which everything that is given here is true; without anything, all of them.

    Args:
        model: attribute `model`, such as `Gaudi2`.
        module: attribute `moduleId`, the place on the board.
    """

    model: Patterns | None = None
    module: Annotated[int, Field(ge=0, le=255)] | None = None

    def covers(self, gaudi: Gaudi) -> bool:
        """Whether a Gaudi is one of them."""
        fits = self.model is None or matches(self.model, gaudi.product.model)
        return fits and self.module in (None, gaudi.module_id) and self.is_at(gaudi.bdf, gaudi.device_id)


class GaudiHealthPolicy(HealthPolicy):
    """What becomes of a Gaudi that is unhealthy, where health is watched.

    Args:
        effect: of the taint `gaudi.intel.com/unhealthy`: `NoExecute` evicts the pods that use it, `NoSchedule` only
            keeps new ones away, `none` = no taint. Without it, as `--health-taint` says.
    """


class GaudiDevicePolicy(DevicePolicy):
    """What holds for one Gaudi.

    Args:
        publish: whether the Gaudi is offered to claims. One that a claim holds stays in its ResourceSlice, with the
            taint `gaudi.intel.com/denied`, until it is given back.
        health: what becomes of it when it is unhealthy.
    """

    health: GaudiHealthPolicy = GaudiHealthPolicy()


class GaudiRule(GaudiDevicePolicy):
    """What holds for some Gaudis; of several rules about a Gaudi, each field is as the last one says that has it.

    Args:
        match: which Gaudis.
    """

    match: GaudiMatch


class GaudiPolicy(DriverPolicy):
    """What an operator decides for the Gaudi driver.

    Args:
        gaudi_hook_path: the program on the host that containers with Gaudis are set up with (an OCI hook); empty = the
            usual one, `/usr/bin/habana-container-hook`.
        network_file: the file on the host that says how the ports are set; containers get it where there is one.
        health_interval: seconds between two looks at the devices through Habana's management library.
        remove_old_taint_rules: whether DeviceTaintRules that Intel's Go driver left for devices of this node are
            removed; without it they are told of only. Needs the right to delete them.
        devices: rules for Gaudis; those of sections in `nodes` come after those at the top.
    """

    gaudi_hook_path: Annotated[
        str,
        Field(pattern=r"^(/[^\x00-\x1f]*)?$"),
        Flag(
            ("--gaudi-hook-path", "-p"),
            "GAUDI_HOOK_PATH",
            "The OCI hook on the host that sets containers with Gaudis up; empty = the usual one.",
        ),
    ] = ""
    network_file: Annotated[
        str,
        Field(pattern=_ABSOLUTE),
        Flag(
            ("--network-file",),
            "GAUDI_NETWORK_FILE",
            "The host's file with the settings of network ports, which containers get where there is one.",
        ),
    ] = "/etc/habanalabs/gaudinet.json"
    health_interval: Annotated[
        int,
        Field(ge=1, le=3600),
        Flag(
            ("--health-interval", "-i"),
            "HEALTH_INTERVAL",
            "Seconds between two looks at the devices through Habana's management library, 1 to 3600.",
        ),
    ] = 5
    remove_old_taint_rules: Annotated[
        bool,
        Flag(
            ("--remove-old-taint-rules/--keep-old-taint-rules",),
            "REMOVE_OLD_TAINT_RULES",
            "Remove DeviceTaintRules that Intel's Go driver left for devices of this node.",
        ),
    ] = False
    devices: Annotated[tuple[GaudiRule, ...], Joined(), Field(max_length=1000)] = ()

    @property
    def hook(self) -> str:
        """The hook's path on the host."""
        return self.gaudi_hook_path or DEFAULT_HOOK

    def of(self, gaudi: Gaudi) -> GaudiDevicePolicy:
        """Return what holds for one Gaudi."""
        return laid_over(GaudiDevicePolicy(), (rule for rule in self.devices if rule.match.covers(gaudi)))


KIND = PolicyKind("config.gaudi.intel.com/v1alpha1", "GaudiDriverConfig", GaudiPolicy)
