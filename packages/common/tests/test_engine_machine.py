"""The machine of ``properties/engine.py``, as many runs as a test has time for, always the same ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from properties.engine import STEPS, EngineMachine

EngineMachine.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=STEPS,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# To shrink what was found takes longer than to find it.
TestEngine = pytest.mark.timeout(600)(EngineMachine.TestCase)
