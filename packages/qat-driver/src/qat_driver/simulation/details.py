"""What a profile says of a QAT beyond PCI."""

from __future__ import annotations

from typing import Literal

from dra_common.simulate import Function
from pydantic import BaseModel, ConfigDict

DETAILS_KEY = "qat"


class QatDetails(BaseModel):
    """The part ``details: {qat: …}`` of a physical function.

    Args:
        state: whether it is up when the machine is first seen; with VFs it always is.
        services: what `cfg_services` is set to at first; empty = the kernel's default, `sym;asym` for every other
            device, `dc` for those between.
        auto_reset: whether the kernel starts it again by itself after a fatal error.
        hung: it does not answer the heartbeat until it is started again.
        busy: something in the kernel uses it, so that it can neither be stopped nor have VFs.
        silent: names of attributes below `qat` that are not there.
        says: attribute below `qat` -> what it says, whatever is true, until somebody writes to it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    state: Literal["up", "down"] = "up"
    services: str = ""
    auto_reset: bool = False
    hung: bool = False
    busy: bool = False
    silent: tuple[str, ...] = ()
    says: dict[str, str] = {}


def details_of(function: Function) -> QatDetails:
    """Return what the profile says of a function."""
    return function.detail(DETAILS_KEY, QatDetails)
