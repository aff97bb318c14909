"""What the real ``gaudi-driver run`` has in memory on a node with 8 accelerators that serves claims."""

from __future__ import annotations

import pytest
from footprint import UNWANTED, Footprint, measure
from gaudi_nodes import program

MOST_MIB = 80
"""Resident size, as of the other drivers: what is the Gaudis' own is small."""


@pytest.fixture(scope="module")
def footprint() -> Footprint:
    """A driver that has published 8 devices, prepared claims on all of them, and ended; health is watched."""
    return measure(program, "gaudi3", claims=8)


def test_the_resident_size_is_bounded(footprint: Footprint) -> None:
    assert footprint.devices == 8
    assert footprint.kib["VmRSS"] <= MOST_MIB * 1024, footprint.kib


def test_what_was_looked_at_is_the_whole_program(footprint: Footprint) -> None:
    """Otherwise the next test would pass on anything."""
    assert {"gaudi_driver.hlml.source", "dra_common.app", "kubernetes.client.api_client", "grpc"} <= set(
        footprint.modules
    )


@pytest.mark.parametrize(
    "package", [*UNWANTED, "gaudi_driver.simulation", "gaudi_driver.demo", "gaudi_driver.hlml.simulated"]
)
def test_nothing_is_loaded_that_a_node_agent_does_not_need(footprint: Footprint, package: str) -> None:
    assert footprint.has(package) == []
