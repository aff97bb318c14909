"""Versions of kernels, as far as they count for QAT."""

from __future__ import annotations

import re

Kernel = tuple[int, int]
"""The first two numbers: (6, 16)."""

_RELEASE = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?![0-9])", re.ASCII)


def parse_kernel(release: str) -> Kernel | None:
    """Return the version of ``/proc/sys/kernel/osrelease`` (``6.8.0-45-generic``), None if it says none."""
    match = _RELEASE.match(release)
    return (int(match[1]), int(match[2])) if match else None
