"""What the tests of claims share with those of processes that die."""

from __future__ import annotations

from nicmodes import rig

__all__ = ["rig"]
