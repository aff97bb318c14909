from __future__ import annotations

import pytest
from dra_common.pci.version import driver_version
from trees import Tree


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.19.4-1-amd64", "6.19.4"),
        ("7.1.0-rc3+", "7.1.0"),
        ("6.19", "6.19.0"),
        ("06.019.4", "6.19.4"),
        ("6", ""),
        ("6.19.1234567890", ""),
        ("next", ""),
        ("", ""),
    ],
)
def test_a_driver_of_the_kernels_tree_has_the_kernels_version(tree: Tree, release: str, version: str) -> None:
    tree.file("proc/sys/kernel/osrelease", f"{release}\n")
    assert driver_version(tree.host, "xe") == version


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"version": "1.23.10.72", "taint": "OE"}, "1.23.10"),
        ({"version": "1.23.10.72"}, "1.23.10"),
        ({"version": "backported", "taint": "OE"}, ""),
        ({"taint": "OE"}, ""),
        ({"taint": "E"}, "6.19.4"),
        ({}, "6.19.4"),
    ],
)
def test_one_that_was_built_beside_the_kernel_says_its_own_or_nothing(
    tree: Tree, files: dict[str, str], version: str
) -> None:
    tree.file("proc/sys/kernel/osrelease", "6.19.4-1-amd64\n")
    for name, text in files.items():
        tree.file(f"sys/bus/pci/drivers/xe/module/{name}", f"{text}\n")
    assert driver_version(tree.host, "xe") == version


def test_what_cannot_be_read_is_unknown(tree: Tree) -> None:
    assert driver_version(tree.host, "xe") == ""
    (tree.root / "proc/sys/kernel/osrelease").mkdir(parents=True)
    assert driver_version(tree.host, "xe") == ""
