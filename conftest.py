"""What holds for the tests of every package."""

import logging
import os
from collections.abc import Iterator

import pytest
from dra_common.testing.kills_summary import pytest_terminal_summary
from hypothesis import settings

__all__ = ["pytest_terminal_summary"]

# A busy machine is no finding.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test of made-up udev devices that sees the machine's real ones, before it says something misleading."""
    if item.get_closest_marker("umockdev") and "libumockdev-preload" not in os.environ.get("LD_PRELOAD", ""):
        pytest.fail("start it as: umockdev-wrapper python -m pytest -m umockdev", pytrace=False)


@pytest.fixture(autouse=True)
def _levels_of_loggers() -> Iterator[None]:
    """Put back what `run` sets for a whole process: another test's log must not have more lines for it."""
    loggers = [logging.getLogger(name) for name in ("dra_common", "gpu_driver", "gaudi_driver", "qat_driver")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start two workers a core: most of the time goes into waiting for the processes that tests start."""
    return 2 * len(os.sched_getaffinity(0))
