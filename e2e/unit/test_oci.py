"""Images that harness.oci writes, read back with nothing but tarfile and json."""

import hashlib
import io
import json
import os
import socket
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from harness.errors import HarnessError
from harness.oci import Config, Layer, write_image

NAME = "e2e.local/some/thing:v1"


class Image:
    """An image as a runtime reads it: index -> manifest -> configuration and layers, each digest checked."""

    def __init__(self, path: Path) -> None:
        self.tar = tarfile.TarFile(fileobj=io.BytesIO(path.read_bytes()))
        self.index = json.loads(self.read("index.json"))
        (self.entry,) = self.index["manifests"]
        self.manifest = json.loads(self.blob(self.entry))
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.layers = []
        for number, descriptor in enumerate(self.manifest["layers"]):
            assert self.config["rootfs"]["diff_ids"][number] == descriptor["digest"]
            self.layers.append(tarfile.TarFile(fileobj=io.BytesIO(self.blob(descriptor))))

    def read(self, name: str) -> bytes:
        member = self.tar.extractfile(name)
        assert member is not None
        return member.read()

    def blob(self, descriptor: dict[str, Any]) -> bytes:
        content = self.read("blobs/" + descriptor["digest"].replace(":", "/"))
        assert len(content) == descriptor["size"]
        assert "sha256:" + hashlib.sha256(content).hexdigest() == descriptor["digest"]
        return content


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "tool").write_bytes(b"\x7fELF" + bytes(5000))
    (root / "bin" / "tool").chmod(0o755)
    (root / "bin" / "same").hardlink_to(root / "bin" / "tool")
    (root / "bin" / "sh").symlink_to("tool")
    (root / "empty").mkdir(mode=0o711)
    (root / ("long-" + "x" * 120)).write_text("é")
    return root


def test_a_runtime_finds_its_way_from_the_index_to_every_file(tmp_path: Path, rootfs: Path) -> None:
    digest = write_image(tmp_path / "image.tar", NAME, [Layer(rootfs)], Config(entrypoint=["/bin/tool"]))
    image = Image(tmp_path / "image.tar")
    assert json.loads(image.read("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    assert image.entry["digest"] == digest
    assert image.entry["annotations"] == {
        "io.containerd.image.name": NAME,
        "org.opencontainers.image.ref.name": "v1",
    }
    (layer,) = image.layers
    assert layer.getnames() == ["bin", "bin/same", "bin/sh", "bin/tool", "empty", "long-" + "x" * 120]
    assert layer.getmember("bin/sh").linkname == "tool"
    # The first of two names has the content, the second refers to it.
    assert layer.getmember("bin/same").isreg()
    assert layer.getmember("bin/tool").islnk()
    assert layer.getmember("bin/same").mode == 0o755
    assert stat.filemode(layer.getmember("empty").mode)[1:] == "rwx--x--x"


def test_the_configuration_says_what_runs_and_as_whom(tmp_path: Path, rootfs: Path) -> None:
    config = Config(
        entrypoint=["/bin/tool"],
        command=["run"],
        environment={"PATH": "/opt/bin", "MODE": "x=y"},
        user="65532:65532",
        workdir="/srv",
        labels={"org.opencontainers.image.title": "thing"},
    )
    write_image(tmp_path / "image.tar", NAME, [Layer(rootfs)], config)
    image = Image(tmp_path / "image.tar")
    assert image.config["config"] == {
        "Entrypoint": ["/bin/tool"],
        "Cmd": ["run"],
        "Env": ["PATH=/opt/bin", "MODE=x=y"],
        "User": "65532:65532",
        "WorkingDir": "/srv",
        "Labels": {"org.opencontainers.image.title": "thing"},
    }
    assert (image.config["os"], image.config["architecture"]) == (
        "linux",
        image.entry["platform"]["architecture"],
    )


def test_what_is_not_said_is_not_in_the_configuration(tmp_path: Path, rootfs: Path) -> None:
    write_image(tmp_path / "image.tar", NAME, [Layer(rootfs)], Config())
    config = Image(tmp_path / "image.tar").config["config"]
    assert set(config) == {"Env", "WorkingDir"}
    assert config["Env"][0].startswith("PATH=/usr/local/sbin:")


def test_the_same_folder_gives_the_same_bytes_whatever_its_times_and_order(
    tmp_path: Path, rootfs: Path
) -> None:
    first = write_image(tmp_path / "one.tar", NAME, [Layer(rootfs)], Config())
    for file in [rootfs, *rootfs.rglob("*")]:
        os.utime(file, (1, 1), follow_symlinks=False)
    (rootfs / "empty").rename(tmp_path / "empty")
    (tmp_path / "empty").rename(rootfs / "empty")
    assert write_image(tmp_path / "two.tar", NAME, [Layer(rootfs)], Config()) == first
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_layers_lie_on_one_another_in_the_order_given(tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print()")
    layers = [Layer(rootfs), Layer(tmp_path / "app", into="/opt/driver")]
    write_image(tmp_path / "image.tar", NAME, layers, Config())
    _, upper = Image(tmp_path / "image.tar").layers
    assert upper.getnames() == ["opt", "opt/driver", "opt/driver/main.py"]
    assert [member.mode for member in upper.getmembers()][:2] == [0o755, 0o755]


def test_two_equal_layers_are_stored_once(tmp_path: Path, rootfs: Path) -> None:
    write_image(tmp_path / "image.tar", NAME, [Layer(rootfs), Layer(rootfs)], Config())
    image = Image(tmp_path / "image.tar")
    assert len(image.layers) == 2
    assert len([name for name in image.tar.getnames() if name.startswith("blobs/")]) == 3


def test_owners_are_root_unless_kept(tmp_path: Path, rootfs: Path) -> None:
    if os.geteuid() == 0:
        os.chown(rootfs / "bin", 1234, 42)
    owner = (rootfs / "bin").stat()
    write_image(tmp_path / "a.tar", NAME, [Layer(rootfs)], Config())
    write_image(tmp_path / "b.tar", NAME, [Layer(rootfs, keep_owners=True)], Config())
    owners = []
    for name in ("a.tar", "b.tar"):
        entry = Image(tmp_path / name).layers[0].getmember("bin")
        owners.append((entry.uid, entry.gid, entry.uname))
    assert owners == [(0, 0, ""), (owner.st_uid, owner.st_gid, "")]


def test_a_socket_is_left_out(tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rootfs)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
    write_image(tmp_path / "image.tar", NAME, [Layer(rootfs)], Config())
    assert "s" not in Image(tmp_path / "image.tar").layers[0].getnames()


@pytest.mark.parametrize("name", ["thing", "registry:5000/thing", ""])
def test_a_name_without_a_tag_is_refused(tmp_path: Path, rootfs: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="no tag"):
        write_image(tmp_path / "image.tar", name, [Layer(rootfs)], Config())


def test_what_would_delete_files_of_another_layer_is_refused(tmp_path: Path, rootfs: Path) -> None:
    (rootfs / "bin" / ".wh.sh").touch()
    with pytest.raises(HarnessError, match=r"\.wh\.sh would delete a file of a lower layer"):
        write_image(tmp_path / "image.tar", NAME, [Layer(rootfs)], Config())


def test_a_failure_leaves_the_former_image_and_nothing_else(tmp_path: Path, rootfs: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_image(out / "image.tar", NAME, [Layer(rootfs)], Config())
    before = (out / "image.tar").read_bytes()
    with pytest.raises(HarnessError, match="is not a folder"):
        write_image(out / "image.tar", NAME, [Layer(rootfs), Layer(tmp_path / "absent")], Config())
    assert [path.name for path in out.iterdir()] == ["image.tar"]
    assert (out / "image.tar").read_bytes() == before
