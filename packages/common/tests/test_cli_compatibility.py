"""Options of the Go drivers without effect: taken out in every spelling, told once, and nothing else is touched."""

from __future__ import annotations

import pytest
from dra_common.cli.compatibility import (
    IGNORED,
    epilog,
    ignored_variables,
    plain_switches,
    strip_ignored,
    variable,
    warning,
)

SWITCHES = ("--log-text-split-stream", "--log-json-split-stream")


@pytest.mark.parametrize("option", sorted(IGNORED))
def test_every_ignored_option_goes_with_its_value(option: str) -> None:
    one_dash = option.removeprefix("-")
    for spelling in ([f"{option}=7"], [f"{one_dash}=7"], [f"{option}=a=b,c=d"]):
        assert strip_ignored(["run", *spelling, "--node-name", "n"]) == (
            ["run", "--node-name", "n"],
            [option],
        )
    if option not in SWITCHES:
        for name in (option, one_dash):
            kept, ignored = strip_ignored(["run", name, "7", "--node-name=n"])
            assert (kept, ignored) == (["run", "--node-name=n"], [option])


@pytest.mark.parametrize("option", SWITCHES)
def test_a_switch_takes_no_value_with_it(option: str) -> None:
    assert strip_ignored(["run", option, "--node-name=n"]) == (["run", "--node-name=n"], [option])


def test_an_ignored_option_without_its_value_at_the_end() -> None:
    assert strip_ignored(["run", "--kube-api-qps"]) == (["run"], ["--kube-api-qps"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["run", "-v=4"], ["run", "-v", "4"]),
        (["run", "-v", "4"], ["run", "-v", "4"]),
        (["run", "--v=4"], ["run", "--v=4"]),
        (["run", "-v4"], ["run", "-v4"]),
        (["run", "-node-name=n"], ["run", "--node-name=n"]),
        (["run", "-logging-format", "json"], ["run", "--logging-format", "json"]),
        (["run", "--healthcheck-port", "-1"], ["run", "--healthcheck-port", "-1"]),
        (["run", "--healthcheck-port=-1"], ["run", "--healthcheck-port=-1"]),
        (["cdi", "generate", "-n", "-h"], ["cdi", "generate", "-n", "-h"]),
        (["simulate", "--root=/a=b"], ["simulate", "--root=/a=b"]),
        (["run", "--health-monitoring=true"], ["run", "--health-monitoring"]),
        (["run", "-health-monitoring=FALSE"], ["run", "--no-health-monitoring"]),
        (["run", "-m=1", "-o=t", "-w=0"], ["run", "-m", "-o", "--no-ignore-health-warning"]),
        (["run", "-m", "-w"], ["run", "-m", "-w"]),
        (["run", "--health-monitoring=perhaps"], ["run", "--health-monitoring=perhaps"]),
        (["run", "--logging-format=true"], ["run", "--logging-format=true"]),
        ([], []),
    ],
)
def test_all_others_are_kept_as_they_are_meant(given: list[str], kept: list[str]) -> None:
    assert strip_ignored(given) == (kept, [])


def test_an_option_that_only_begins_alike_is_not_ignored() -> None:
    assert strip_ignored(["run", "--kube-api-qps-limit=5"]) == (["run", "--kube-api-qps-limit=5"], [])


def test_environment_variables_are_the_options_in_capitals() -> None:
    assert variable("--kube-api-qps") == "KUBE_API_QPS"
    environment = {"KUBE_API_QPS": "5", "FEATURE_GATES": "A=true", "VMODULE": "", "NODE_NAME": "n", "V": "4"}
    assert ignored_variables(environment) == ["KUBE_API_QPS", "FEATURE_GATES"]


def test_one_line_names_each_once() -> None:
    line = warning(["--vmodule", "KUBE_API_QPS", "--vmodule"])
    assert line.count("--vmodule") == 1
    assert "KUBE_API_QPS" in line
    assert "without effect" in line
    assert "\n" not in line


def test_the_help_lists_all_with_a_reason() -> None:
    text = epilog()
    for option, why in IGNORED.items():
        assert f"{option} ({why})" in text


def test_values_of_switches_become_their_names() -> None:
    switches = {"--a": "--no-a", "-a": "--no-a"}
    given = ["run", "--a=true", "--a=F", "-a=0", "-a", "--a", "--b=false", "--a=x", "--a="]
    kept = ["run", "--a", "--no-a", "--no-a", "-a", "--a", "--b=false", "--a=x", "--a="]
    assert plain_switches(given, switches) == kept
