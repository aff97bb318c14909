"""From findings to one verdict: what counts, what is said, and what a taint may carry."""

from __future__ import annotations

import re

import pytest
from dra_common.health import Policy, verdict
from dra_common.health.verdicts import LONGEST_MESSAGE, absent, findings_of
from dra_common.model import DeviceHealth, Finding, HealthState, Severity, TaintEffect
from dra_common.ports import Report
from hypothesis import given
from hypothesis import strategies as st

OK = Finding("memory", Severity.OK, "all is well")
WARM = Finding("temperature", Severity.WARNING, "90 °C")
DYING = Finding("memory", Severity.CRITICAL, "3 uncorrectable errors")
DEAD = Finding("firmware", Severity.FAILED, "does not start")
UNSURE = Finding("fan", Severity.UNKNOWN, "no sensor")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def judged(*findings: Finding, policy: Policy | None = None) -> DeviceHealth:
    return verdict(findings, policy or Policy())


def test_nobody_says_anything_so_nothing_is_known() -> None:
    assert judged() == DeviceHealth(HealthState.UNKNOWN)
    assert judged(UNSURE) == DeviceHealth(HealthState.UNKNOWN, message="fan (unknown): no sensor")


def test_one_who_looked_is_enough_for_healthy() -> None:
    assert judged(OK) == DeviceHealth(HealthState.HEALTHY)
    assert judged(UNSURE, OK).state is HealthState.HEALTHY


def test_the_worst_decides_and_comes_first() -> None:
    health = judged(OK, WARM, DYING, DEAD)
    assert (health.state, health.reason) == (HealthState.UNHEALTHY, "firmware")
    assert health.effect is TaintEffect.NO_EXECUTE
    assert health.message == (
        "firmware (failed): does not start; memory (critical): 3 uncorrectable errors; temperature (warning): 90 °C"
    )


def test_a_warning_is_told_and_counts_only_where_it_is_not_ignored() -> None:
    ignoring = judged(OK, WARM)
    assert ignoring == DeviceHealth(HealthState.HEALTHY, message="temperature (warning): 90 °C")
    strict = judged(OK, WARM, policy=Policy(Severity.WARNING))
    assert (strict.state, strict.reason) == (HealthState.UNHEALTHY, "temperature")


@pytest.mark.parametrize("effect", [TaintEffect.NO_SCHEDULE, None])
def test_the_effect_is_the_policy_s(effect: TaintEffect | None) -> None:
    assert judged(DEAD, policy=Policy(effect=effect)).effect is effect
    assert judged(OK, policy=Policy(effect=effect)).effect is None


def test_an_absent_device_is_unhealthy_without_a_taint_of_health() -> None:
    health = absent()
    assert (health.state, health.reason, health.effect) == (HealthState.UNHEALTHY, "absent", None)
    assert health.message


@given(st.text(), st.text(max_size=2000))
def test_whatever_a_source_calls_it_the_reason_is_a_label_value(what: str, message: str) -> None:
    """Defect 6 of Intel's Go driver: a taint made of free text made the whole ResourceSlice invalid."""
    health = judged(Finding(what, Severity.CRITICAL, message))
    assert health.reason
    assert LABEL_VALUE.fullmatch(health.reason)
    assert len(health.message.encode()) <= LONGEST_MESSAGE
    assert "\n" not in health.message or "\n" in what


def test_a_source_may_know_a_device_by_any_of_its_names() -> None:
    reports = {"one": Report({"dev-0": (OK,)}), "two": Report({"0000:03:00.0": (DYING,), "dev-1": (DEAD,)})}
    assert findings_of(reports, ("dev-0", "0000:03:00.0")) == (OK, DYING)
    assert findings_of(reports, ("dev-2",)) == ()


def test_of_a_source_that_is_away_only_what_was_bad_stays() -> None:
    gone = {"xpumd": Report({"dev-0": (OK, WARM, DYING), "dev-1": (OK,)}, away="it does not answer")}
    assert findings_of(gone, ("dev-0",)) == (WARM, DYING)
    assert judged(*findings_of(gone, ("dev-1",))).state is HealthState.UNKNOWN
