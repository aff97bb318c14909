"""The demo: a driver's whole life on one simulated node, every statement checked while it is made.

``python -m dra_common.testing.demo`` plays a story of a driver package (its module ``demo``, attribute ``STORIES``);
nothing in common knows what the stories tell.
"""

from dra_common.testing.demo.narrator import Narrator, StatementFalse, StoryUnfit
from dra_common.testing.demo.story import Story

__all__ = ["Narrator", "StatementFalse", "Story", "StoryUnfit"]
