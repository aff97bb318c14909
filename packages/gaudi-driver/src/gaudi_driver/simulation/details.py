"""What a profile says of a Gaudi beyond PCI."""

from __future__ import annotations

from typing import Annotated, Literal

from dra_common.simulate import Function
from pydantic import BaseModel, ConfigDict, Field

DETAILS_KEY = "gaudi"

Status = Literal[
    "Operational",
    "In reset",
    "Disabled",
    "Needs reset",
    "In device creation",
    "In reset after device release",
]
Layout = Literal["accel", "virtual", "habanalabs"]
Reset = Literal["works", "fails", "hangs"]


class GaudiDetails(BaseModel):
    """The part ``details: {gaudi: …}`` of a function.

    Args:
        module_id: place on the server's board, 0 to 7.
        index: number of its nodes; left out, or taken = the first one that is free, in the order of the profile.
        status: what the kernel driver says of it at first. `In device creation`: it has not come to make nodes, nor
            attributes that the firmware has to tell.
        device_type: what the kernel driver calls it; empty = as its ids say.
        firmware: version of its firmware, as it is part of the texts of the attributes.
        reset: how a reset ends that is written to `hard_reset`: it works, it fails, or it does not end.
        silent: names of attributes that are not there.
        network: the out-of-tree driver makes it a device for RDMA and network interfaces.
        ports: how many of its external ports have a network interface.
        layout: where nodes and attributes are. `accel`: class accel, attributes below the PCI function; `virtual`:
            class accel, all below devices/virtual (out-of-tree on kernels without accelerators); `habanalabs`: class
            habanalabs and `/dev/hl0`, all below devices/virtual (before Linux 6.3).
        serial: what HLML says; empty = HLML does not know the device.
        uuid: what HLML says; empty = it says nothing.
        memory: what HLML says in bytes; left out = what the product has.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    module_id: Annotated[int, Field(ge=0, le=7)] = 0
    index: Annotated[int, Field(ge=0, le=255)] | None = None
    status: Status = "Operational"
    device_type: str = ""
    firmware: Annotated[str, Field(pattern=r"^[0-9a-z.-]+$")] = "1.12.1-fw-46.0.5-sec-6"
    reset: Reset = "works"
    silent: tuple[str, ...] = ()
    network: bool = True
    ports: Annotated[int, Field(ge=0, le=3)] = 3
    layout: Layout = "accel"
    serial: str = ""
    uuid: str = ""
    memory: Annotated[int, Field(ge=0)] | None = None


def details_of(function: Function) -> GaudiDetails:
    """Return what the profile says of a function."""
    return function.detail(DETAILS_KEY, GaudiDetails)
