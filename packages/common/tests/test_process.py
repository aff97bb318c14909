"""What a process uses is read from the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dra_common.testing.process import cpu_seconds, resident_kib, wait_at_rest
from dra_common.testing.waiting import wait_until


@contextmanager
def running(code: str) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_processor_time_grows_while_a_process_works() -> None:
    with running("while True: pass") as pid:
        wait_until(lambda: cpu_seconds(pid) > 0.2, "it to work", seconds=60)


def test_processor_time_is_that_of_the_process() -> None:
    before, began = cpu_seconds(os.getpid()), time.process_time()
    wait_until(lambda: time.process_time() - began > 0.2, "this process to work", seconds=60, pause=0)
    assert cpu_seconds(os.getpid()) - before == pytest.approx(time.process_time() - began, abs=0.05)


def test_resident_size_has_its_parts() -> None:
    size = resident_kib(os.getpid())
    assert size["VmRSS"] == pytest.approx(size["RssAnon"] + size["RssFile"] + size["RssShmem"], rel=0.01)


def test_who_does_nothing_is_at_rest_and_who_works_is_not() -> None:
    with running("import time; time.sleep(1000)") as pid:
        wait_at_rest(pid, seconds=60)
    with running("while True: pass") as pid, pytest.raises(TimeoutError, match="come to rest"):
        wait_at_rest(pid, seconds=2)
