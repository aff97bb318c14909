"""What a profile says of a GPU beyond PCI."""

from __future__ import annotations

from typing import Annotated, Literal

from dra_common.simulate import Function
from pydantic import BaseModel, ConfigDict, Field

DETAILS_KEY = "gpu"

Node = Literal["card", "render"]


class GpuDetails(BaseModel):
    """The part ``details: {gpu: …}`` of a function.

    Args:
        vram: usable local memory in bytes, all tiles together; 0 for integrated graphics.
        tiles: how many regions the memory is divided into.
        mei: MEI devices of the card: 1 = firmware update, 2 = also content protection.
        power_cap: of the card in microwatts, as hwmon shows it; 0 = no hwmon (integrated graphics have none).
        limits: hwmon shows limits of temperatures, as xe does since Linux 7.0.
        max_vfs: how many VFs the kernel driver allows; left out = what the hardware has.
        most_vfs: how many VFs the kernel driver makes, whatever it is asked for, as a broken one does; 0 = all.
        survivability: the firmware did not start, so xe binds without making any DRM node.
        xe_cores: not fused off, all tiles together; 0 = the kernel driver does not tell.
        eus_per_core: execution units of each Xe core.
        guc_submission: version of the GuC's submission interface; empty = the kernel driver does not tell.
        denied_nodes: nodes whose queries are refused with EACCES.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    vram: Annotated[int, Field(ge=0)] = 0
    tiles: Annotated[int, Field(ge=1, le=4)] = 1
    mei: Annotated[int, Field(ge=0, le=2)] = 0
    power_cap: Annotated[int, Field(ge=0)] = 0
    limits: bool = False
    max_vfs: Annotated[int, Field(ge=0)] | None = None
    most_vfs: Annotated[int, Field(ge=0)] = 0
    survivability: bool = False
    xe_cores: Annotated[int, Field(ge=0, le=128)] = 0
    eus_per_core: Annotated[int, Field(ge=1, le=32)] = 8
    guc_submission: Annotated[str, Field(pattern=r"([0-9]{1,5}(\.[0-9]{1,5}){2})?$")] = ""
    denied_nodes: tuple[Node, ...] = ()


def details_of(function: Function) -> GpuDetails:
    """Return what the profile says of a function; of its physical function if it is a VF."""
    return function.detail(DETAILS_KEY, GpuDetails)
