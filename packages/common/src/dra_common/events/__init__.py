"""Kubernetes Events on this node's object: what an operator must see, best effort and in small numbers."""

from dra_common.events.sender import Events
from dra_common.events.waiting import Limits

__all__ = ["Events", "Limits"]
