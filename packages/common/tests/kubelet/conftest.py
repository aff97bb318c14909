"""A node with a plugin under test, the kubelet that calls it, and what the driver logged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from dra_common import log
from dra_common.testing.kubelet import FakeKubelet, KubeletNode, MemoryClaims


@pytest.fixture
def claims() -> MemoryClaims:
    return MemoryClaims()


@pytest.fixture
def node(short_tmp: Path, claims: MemoryClaims) -> Iterator[KubeletNode]:
    with KubeletNode(short_tmp, claims) as node:
        yield node


@pytest.fixture
def kubelet(node: KubeletNode) -> FakeKubelet:
    return node.start_kubelet()


@pytest.fixture
def log_text() -> Iterator[Callable[[], str]]:
    """What the driver logged so far, one JSON object a line."""
    root, ours = logging.getLogger(), logging.getLogger("dra_common")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    stream = StringIO()
    log.setup("json", verbose=True, stream=stream)
    yield stream.getvalue
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
