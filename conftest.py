"""What holds for the tests of every package."""

import os

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test of made-up udev devices that sees the machine's real ones, before it says something misleading."""
    if item.get_closest_marker("umockdev") and "libumockdev-preload" not in os.environ.get("LD_PRELOAD", ""):
        pytest.fail("start it as: umockdev-wrapper python -m pytest -m umockdev", pytrace=False)
