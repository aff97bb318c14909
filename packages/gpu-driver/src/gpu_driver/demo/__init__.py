"""The stories that ``make demo`` tells about the GPU driver."""

from __future__ import annotations

from collections.abc import Mapping

from dra_common.testing.demo import Story
from dra_common.testing.demo.chaos import chaos

from gpu_driver.demo.claim import USABLE, claim
from gpu_driver.demo.health import health
from gpu_driver.demo.sharing import sharing
from gpu_driver.demo.vf import vf
from gpu_driver.demo.vfio import vfio
from gpu_driver.driver import NAME

__all__ = ["STORIES"]

STORIES: Mapping[str, Story] = {
    "claim": Story("GPU claims on one node, from published to nothing left", NAME, "two-gpus", claim),
    "vfio": Story("A GPU goes to a virtual machine, whole, and comes back", NAME, "two-gpus", vfio),
    "vf": Story("A GPU is divided for claims on a share of it, and whole again", NAME, "two-gpus", vf),
    "health": Story("A GPU goes bad and recovers", NAME, "two-gpus", health),
    "sharing": Story("Several claims have one GPU at once", NAME, "two-gpus", sharing),
    "chaos": Story("GPU claims under kills, damaged files and API loss", NAME, "large", chaos(USABLE)),
}
