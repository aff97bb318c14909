"""The stories that ``make demo`` tells about the Gaudi driver."""

from __future__ import annotations

from collections.abc import Mapping

from dra_common.testing.demo import Story

from gaudi_driver.demo.training import training
from gaudi_driver.driver import NAME

__all__ = ["STORIES"]

STORIES: Mapping[str, Story] = {
    "training": Story("Eight Gaudis train for one pod, and one of them goes bad", NAME, "gaudi3", training),
}
