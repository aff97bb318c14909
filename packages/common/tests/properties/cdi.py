"""Whatever edits a driver thinks of: a specification that every reader takes, or refused before a file is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml
from dra_common.cdi import encode_spec
from dra_common.errors import SpecInvalid
from dra_common.model import ContainerEdits, DeviceNode, Hook, Mount
from dra_common.testing.cdi.schema import check_spec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from properties.base import Property
from properties.cdi_schema import errors, lowest_version

Edits = Mapping[str, ContainerEdits]
Given = tuple[str, str, Edits, bool]

_STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def check(given: Given) -> None:
    vendor, class_name, devices, good = given
    try:
        data = encode_spec(vendor, class_name, devices, file="file.json")
    except SpecInvalid as error:
        assert not good, f"refused although CDI allows it: {error}"
        return
    assert data == encode_spec(vendor, class_name, dict(reversed(list(devices.items()))), file="other.json")
    spec = json.loads(data)
    assert yaml.load(data, yaml.CSafeLoader) == spec  # as runtimes read it
    assert errors(spec) == []
    assert spec["cdiVersion"] == lowest_version(spec)
    check_spec(spec)
    assert {device["name"] for device in spec["devices"]} == set(devices)
    for device in spec["devices"]:
        assert said(device["containerEdits"]) == meant(devices[device["name"]])


def said(edits: Mapping[str, Any]) -> list[Any]:
    """Return what a reader sees, defaults filled in as it does."""
    nodes = edits.get("deviceNodes", [])
    return [
        edits.get("env", []),
        [
            (node["path"], node.get("hostPath") or node["path"], node.get("type"), node.get("permissions"))
            for node in nodes
        ],
        [
            (mount["hostPath"], mount["containerPath"], mount.get("type"), mount.get("options", []))
            for mount in edits.get("mounts", [])
        ],
        [
            (hook["hookName"], hook["path"], hook.get("args", []), hook.get("env", []))
            for hook in edits.get("hooks", [])
        ],
    ]


def meant(edits: ContainerEdits) -> list[Any]:
    return [
        list(edits.env),
        [
            (node.path, node.host_path or node.path, node.type, node.permissions)
            for node in edits.device_nodes
        ],
        [(mount.host_path, mount.container_path, mount.type, list(mount.options)) for mount in edits.mounts],
        [(hook.name, hook.path, list(hook.args), list(hook.env)) for hook in edits.hooks],
    ]


def _specs(
    text: SearchStrategy[str],
    path: SearchStrategy[str],
    env: SearchStrategy[str],
    name: SearchStrategy[str],
    part: SearchStrategy[str],
    good: bool,  # noqa: FBT001
) -> SearchStrategy[Given]:
    types: list[Any] = [None, "c", "b"]
    permissions: list[Any] = [None, "none", "r", "rw", "mrw"]
    stages: list[Any] = [*_STAGES]
    if not good:
        types.append("x")
        permissions += ["", "rr", "rx"]
        stages.append("before")
    nodes = st.builds(
        DeviceNode, path, st.none() | path, st.sampled_from(types), st.sampled_from(permissions)
    )
    mounts = st.builds(Mount, path, path, st.none() | text, st.lists(text, max_size=2).map(tuple))
    variables = st.lists(env, max_size=2).map(tuple)
    hooks = st.builds(Hook, st.sampled_from(stages), path, st.lists(text, max_size=2).map(tuple), variables)
    edits = st.builds(
        ContainerEdits,
        variables,
        *(st.lists(each, max_size=2).map(tuple) for each in (nodes, mounts, hooks)),
    )
    some = edits.filter(bool) if good else edits
    devices = st.dictionaries(name, some, min_size=1 if good else 0, max_size=3)
    return st.tuples(part, part, devices, st.just(good))


_LETTERS = "abcXYZ0189"
_part = st.from_regex(r"\A[a-z]([a-z0-9_.-]{0,8}[a-z0-9])?\Z")
_name = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9_.:-]{0,8}[A-Za-z0-9])?\Z")
_text = st.text(_LETTERS + " =/:ü", min_size=1, max_size=6)
_path = st.lists(st.text(_LETTERS + ":-ü ", min_size=1, max_size=4), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
_env = st.builds(
    "{}={}".format,
    st.text(_LETTERS + "_", min_size=1, max_size=4),
    st.text(max_size=4).map(lambda text: text.replace("\0", "")),
)
_wild = st.text(max_size=6) | st.sampled_from(
    ("/dev/x", "/../x", "A=b", "=", "a\0b", "..", "/a\n", "\ud800", "é")
)

INPUTS = st.one_of(
    _specs(_text, _path, _env, _name, _part, good=True),
    _specs(_wild | _text, _wild | _path, _wild | _env, _wild | _name, _wild | _part, good=False),
)
PROPERTY = Property("cdi", INPUTS, check)
