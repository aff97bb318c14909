from __future__ import annotations

from gpu_driver.mei import MeiIndex
from gpu_trees import SysTree


def test_the_mei_index_takes_children_only_and_reads_once(tree: SysTree) -> None:
    for name, place in {
        "mei3": "a/0000:03:00.0/x/mei3",
        "mei12": "a/0000:03:00.0/y/mei12",
        "mei0": "a/0000:03:00.01/mei0",
    }.items():
        tree.file(f"sys/devices/{place}/dev", "")
        tree.to(f"sys/class/mei/{name}", f"sys/devices/{place}")
    index = MeiIndex(tree.host)
    assert index.below("devices/a/0000:03:00.0") == ("mei3", "mei12")
    (tree.root / "sys/class/mei/mei3").unlink()
    assert index.below("devices/a/0000:03:00.0") == ("mei3", "mei12")
    assert MeiIndex(tree.host).below("devices/a/0000:03:00.0") == ("mei12",)
    assert index.below("devices/b") == ()


def test_no_mei_class_is_no_mei(tree: SysTree) -> None:
    assert MeiIndex(tree.host).below("devices/a") == ()
