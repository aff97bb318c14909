from __future__ import annotations

from collections.abc import Callable

import pytest
from dra_common.testing.apiserver import names
from dra_common.testing.apiserver.status import Cause

Check = Callable[[str, str], list[Cause]]


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            names.check_label,
            ["a", "gpu-0", "0a", "a" * 63],
            ["", "A", "a_b", "-a", "a-", "a.b", "0000:03:00.0", "a" * 64],
        ),
        (names.check_driver, ["gpu.intel.com", "GPU.intel.com"], ["", "gpu_intel.com", ".com", "a" * 64]),
        (names.check_pool, ["n1", "a.b/c-d"], ["", "a//b", "/a", "a/", "A", "/".join(["a" * 60] * 5)]),
        (
            names.check_qualified,
            ["model", "_x", "resource.kubernetes.io/pcieRoot", "a" * 32],
            ["", "a-b", "0a", "a" * 33, "/a", "a/b/c", "D.com/x", "a" * 64 + "/x", "x/"],
        ),
        (names.check_fully_qualified, ["intel.com/x"], ["x", "/x"]),
        (
            names.check_label_name,
            ["unhealthy", "gpu.intel.com/unhealthy", "A.b_c"],
            ["", "-a", "a/", "UP/a", "a" * 64, "a/b/c"],
        ),
        (names.check_label_value, ["", "a", "A.b_c-1"], ["-a", "a b", "ä", "a" * 64]),
    ],
)
def test_forms(check: Check, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if check("f", value)] == []
    assert [value for value in bad if not check("f", value)] == []
    assert {cause.field for value in bad for cause in check("f", value)} == {"f"}


@pytest.mark.parametrize("text", ["1.2.3", "0.0.0", "1.0.0-rc.1+b.2", "10.20.30-a-b"])
def test_semantic_versions(text: str) -> None:
    assert names.is_semver(text)


@pytest.mark.parametrize("text", ["", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3.4", "1.2.3-01", "1.2.3 "])
def test_no_semantic_versions(text: str) -> None:
    assert not names.is_semver(text)
