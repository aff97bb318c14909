"""tools/generate_protos.py: are the committed stubs what the .proto files say, and does --check find out?"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dra_common.kubelet import _generated
from dra_common.kubelet._generated import dra_v1_pb2 as dra
from dra_common.kubelet._generated import pluginregistration_v1_pb2 as reg

ROOT = Path(__file__).parents[4]
PROTOS = ROOT / "packages/common/proto"
STUBS = Path(_generated.__file__).parent


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/generate_protos.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> tuple[str, ...]:
    shutil.copytree(PROTOS, tmp_path / "proto")
    shutil.copytree(STUBS, tmp_path / "out", ignore=shutil.ignore_patterns("__pycache__"))
    return ("--protos", str(tmp_path / "proto"), "--out", str(tmp_path / "out"))


def test_the_committed_stubs_are_up_to_date() -> None:
    result = generate("--check")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_stub_that_was_edited_is_named_and_generating_mends_it(
    copy: tuple[str, ...], tmp_path: Path
) -> None:
    stub = tmp_path / "out/dra_v1_pb2.pyi"
    good = stub.read_text()
    stub.write_text(good + "\n")
    result = generate("--check", *copy)
    assert result.returncode == 1
    assert [line for line in result.stderr.splitlines() if "stale" in line] == [
        f"{stub} is stale: run `make protos` and commit"
    ]
    assert generate(*copy).returncode == 0
    assert stub.read_text() == good
    assert generate("--check", *copy).returncode == 0


def test_a_proto_that_changed_is_found(copy: tuple[str, ...], tmp_path: Path) -> None:
    with (tmp_path / "proto/dra_v1.proto").open("a") as proto:
        proto.write("message Added {}\n")
    result = generate("--check", *copy)
    assert result.returncode == 1
    assert "dra_v1_pb2.py is stale" in result.stderr
    assert "pluginregistration" not in result.stderr


def test_a_proto_that_went_away_leaves_no_stubs(copy: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "proto/dra_v1.proto").unlink()
    result = generate("--check", *copy)
    assert result.returncode == 1
    assert "dra_v1_pb2_grpc.py is stale" in result.stderr
    generate(*copy)
    assert not list((tmp_path / "out").glob("dra_v1*"))


def test_a_proto_that_is_wrong_is_refused_and_nothing_is_written(
    copy: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "proto/dra_v1.proto").write_text("message {")
    before = (tmp_path / "out/dra_v1_pb2.py").read_bytes()
    result = generate(*copy)
    assert result.returncode != 0
    assert "dra_v1.proto:1:9" in result.stderr
    assert (tmp_path / "out/dra_v1_pb2.py").read_bytes() == before


def test_the_names_on_the_wire_are_those_of_kubernetes() -> None:
    """KEP-4381: a kubelet calls these full names, whatever our files are called."""
    methods = [
        f"/{service.full_name}/{method.name}"
        for module in (dra, reg)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
    assert methods == [
        "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",
        "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodeUnprepareResources",
        "/pluginregistration.Registration/GetInfo",
        "/pluginregistration.Registration/NotifyRegistrationStatus",
    ]


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (dra.Claim, {"namespace": 1, "uid": 2, "name": 3}),
        (
            dra.Device,
            {"request_names": 1, "pool_name": 2, "device_name": 3, "cdi_device_ids": 4, "share_id": 5},
        ),
        (dra.NodePrepareResourceResponse, {"devices": 1, "error": 2}),
        (dra.NodeUnprepareResourceResponse, {"error": 1}),
        (dra.NodePrepareResourcesRequest, {"claims": 1}),
        (dra.NodePrepareResourcesResponse, {"claims": 1}),
        (reg.PluginInfo, {"type": 1, "name": 2, "endpoint": 3, "supported_versions": 4}),
        (reg.RegistrationStatus, {"plugin_registered": 1, "error": 2}),
    ],
)
def test_field_numbers_are_those_of_kubernetes(
    message: type[dra.Claim | reg.PluginInfo], fields: dict[str, int]
) -> None:
    assert {field.name: field.number for field in message.DESCRIPTOR.fields} == fields
