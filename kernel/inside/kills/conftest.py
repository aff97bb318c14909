"""What these tests share with those of claims; how many were killed is told at the end."""

from __future__ import annotations

from dra_common.testing.kills_summary import pytest_terminal_summary
from nicmodes import rig

__all__ = ["pytest_terminal_summary", "rig"]
