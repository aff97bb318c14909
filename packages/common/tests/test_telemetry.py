"""The table of metrics and the reasons of Events: what their names promise, and what the page says of them."""

from __future__ import annotations

import re

import pytest
from dra_common.telemetry import PROCESS_ROWS, SILENT, Reason, Row, Together, rows
from dra_common.testing.ledger import Ledger
from pages import DOCS, blocks

PAGE = DOCS / "user/metrics.md"
UNITS = ("_seconds", "_bytes")


def test_names_are_unique() -> None:
    names = [row.name for row in (*rows(), *PROCESS_ROWS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_names_follow_the_conventions_of_prometheus(row: Row) -> None:
    assert re.fullmatch(r"intel_dra(_[a-z]+)+", row.name)
    assert row.name.endswith("_total") == (row.kind == "counter")
    assert row.kind != "histogram" or row.name.endswith(UNITS)
    assert row.help.endswith(".")
    for label in row.labels:
        assert re.fullmatch("[a-z]+", label)
        # A claim, a pod or a device in a label would be a series for each.
        if (row.name, label) == ("intel_dra_device_unhealthy", "device"):
            continue  # a node has few devices, and few of those are unhealthy
        assert label not in {"driver", "le", "claim", "uid", "pod", "namespace", "device", "name", "node"}


def test_reasons_are_as_kubectl_shows_them() -> None:
    for reason in Reason:
        assert re.fullmatch(r"([A-Z][a-z]+){2,}", reason.value)
        assert reason.meaning.endswith(".")
        assert Reason(reason.value) is reason
    assert {reason for reason in Reason if reason.type == "Normal"} == {
        Reason.CLAIM_ADOPTED,
        Reason.DEVICE_RECOVERED,
    }


def test_the_page_has_every_metric_and_reason_and_none_other() -> None:
    documented = re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", PAGE.read_text(), re.MULTILINE)
    assert documented == [row.name for row in (*rows(), *PROCESS_ROWS)]
    reasons = re.findall(r"^\| `(\w+)` \| (?:Normal|Warning) \|", PAGE.read_text(), re.MULTILINE)
    assert reasons == [reason.value for reason in Reason]


def test_the_alerts_ask_for_metrics_and_labels_that_there_are() -> None:
    table = {row.name: {"driver", *row.labels} for row in rows()}
    expressions = [
        line.partition("expr: ")[2]
        for block in blocks(PAGE, "yaml")
        for line in block.text.splitlines()
        if "expr: " in line
    ]
    assert len(expressions) == 3
    for expression in expressions:
        name, labels = re.findall(r"(intel_dra_\w+)(?:\{([^}]*)\})?", expression)[0]
        assert set(re.findall(r"(\w+)(?==|!=|=~)", labels)) <= table[name]
        by = re.findall(r"by \(([^)]*)\)", expression)
        assert set(", ".join(by).split(", ")) - {"", "instance"} <= table[name]


def test_together_hands_numbers_to_one_and_words_to_the_other() -> None:
    counts, tells = Ledger(), Ledger()
    both = Together(counts, tells)
    row, timed = (next(row for row in rows() if row.kind == kind) for kind in ("counter", "histogram"))
    both.count(row, 2, **dict.fromkeys(row.labels, "x"))
    both.observe(timed, 0.5, **dict.fromkeys(timed.labels, "x"))
    both.event(Reason.CLAIM_GONE, "gone")
    assert list(counts.counts.values()) == [2]
    assert [value for _, value in counts.values] == [0.5]
    assert (counts.events, tells.events) == ([], [(Reason.CLAIM_GONE, "gone")])
    assert (tells.counts, tells.values) == ({}, [])


def test_nobody_is_told_by_default() -> None:
    row = rows()[0]
    SILENT.count(row, 1, anything="x")
    SILENT.observe(row, 1.0)
    SILENT.event(Reason.CLAIM_GONE, "gone")
    assert not vars(SILENT)
