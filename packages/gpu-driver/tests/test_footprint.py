"""What the real ``gpu-driver run`` has in memory on a node with 72 devices that serves claims."""

from __future__ import annotations

import pytest
from footprint import UNWANTED, Footprint, measure
from gpu_nodes import program

MOST_MIB = 80
"""Resident size. Measured 69 MiB on CPython 3.11, 28 of them pages of files that processes share. One typed API of the
Kubernetes client would add 73 MiB; the room above is for other versions of Python and of what we import."""


@pytest.fixture(scope="module")
def footprint() -> Footprint:
    """A driver that has published 72 devices, prepared claims on half of them, and ended."""
    return measure(program, "large", claims=32)


def test_the_resident_size_is_bounded(footprint: Footprint) -> None:
    assert footprint.devices == 72
    assert footprint.kib["VmRSS"] <= MOST_MIB * 1024, footprint.kib


def test_what_was_looked_at_is_the_whole_program(footprint: Footprint) -> None:
    """Otherwise the next test would pass on anything."""
    assert {"gpu_driver.driver", "dra_common.app", "kubernetes.client.api_client", "grpc", "pyudev"} <= set(
        footprint.modules
    )


@pytest.mark.parametrize("package", [*UNWANTED, "gpu_driver.simulation", "gpu_driver.demo"])
def test_nothing_is_loaded_that_a_node_agent_does_not_need(footprint: Footprint, package: str) -> None:
    assert footprint.has(package) == []
