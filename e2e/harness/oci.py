"""Container images out of folders, written without a registry, a daemon or a builder.

An image is one tar file in the OCI image layout, which ``ctr images import`` and ``skopeo copy oci-archive:`` read.
The same folders give the same bytes: entries are sorted, times are 0, and names of owners are left out.

Source: OCI Image Format Specification 1.1, image-layout.md, manifest.md, config.md, layer.md.
"""

import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from harness.errors import HarnessError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
# Not compressed: it is read back on this machine a moment later.
LAYER = "application/vnd.oci.image.layer.v1.tar"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A file of this name would delete another one of a lower layer.
WHITEOUT = ".wh."
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder, and where its content goes in the image.

    Everything belongs to root, unless ``keep_owners``: then to the numbers that it has on disk.
    """

    folder: Path
    into: str = "/"
    keep_owners: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """How a container of the image starts; ``user`` is a name or number, with ``:group`` if wanted."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Give the ``config`` object of the image configuration, without what is empty."""
        full = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": [f"{name}={value}" for name, value in ({"PATH": PATH} | dict(self.environment)).items()],
            "User": self.user,
            "WorkingDir": self.workdir,
            "Labels": dict(self.labels),
        }
        return {name: value for name, value in full.items() if value}


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of the image under their digest: in memory, or in an open file."""

    digest: str
    size: int
    content: IO[bytes]

    def descriptor(self, media_type: str) -> dict[str, object]:
        """Give what refers to it elsewhere in the image."""
        return {"mediaType": media_type, "digest": f"sha256:{self.digest}", "size": self.size}


def write_image(path: Path, name: str, layers: Sequence[Layer], config: Config) -> str:
    """Write the image ``name`` (``registry/repository:tag``) to the file ``path``; return its digest, ``sha256:…``.

    The file appears whole or not at all. Raises ``HarnessError`` for a name without a tag, a folder that is not there,
    and a file that would be a whiteout; ``OSError`` if something cannot be read or written.
    """
    tag = name.rpartition("/")[2].partition(":")[2]
    if not tag:
        raise HarnessError(f"image name {name!r} has no tag", cure="say registry/repository:tag")
    with ExitStack() as stack:
        # Without a name, so nothing stays of them whatever happens.
        scratch = [stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in layers]
        blobs = [_layer_blob(out, layer) for out, layer in zip(scratch, layers, strict=True)]
        manifest = _manifest(blobs, config)
        new = path.with_name(f".{path.name}.new")
        stack.callback(new.unlink, missing_ok=True)
        with new.open("wb") as out:
            _write_layout(out, _index(manifest[0], name, tag), [*manifest, *blobs])
        new.replace(path)
    return f"sha256:{manifest[0].digest}"


def _layer_blob(out: IO[bytes], layer: Layer) -> Blob:
    if not layer.folder.is_dir():
        raise HarnessError(f"{layer.folder} is not a folder, so it cannot be a layer of an image")
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for parent in _parents(layer.into):
            tar.addfile(_folder_entry(parent))
        for file, inside in _entries(layer.folder, layer.into.strip("/")):
            _add(tar, file, inside, layer)
    return _blob(out)


def _parents(into: str) -> list[str]:
    parts = into.strip("/").split("/") if into.strip("/") else []
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _folder_entry(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o755
    return entry


def _entries(folder: Path, into: str) -> Iterator[tuple[Path, str]]:
    """Go through a folder in the order of names, each folder before what is in it; links are not followed."""
    for file in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        if file.name.startswith(WHITEOUT):
            raise HarnessError(f"{file} would delete a file of a lower layer", cure="rename it")
        inside = f"{into}/{file.name}" if into else file.name
        yield file, inside
        if file.is_dir() and not file.is_symlink():
            yield from _entries(file, inside)


def _add(tar: tarfile.TarFile, file: Path, inside: str, layer: Layer) -> None:
    if file.is_socket():  # a tar file cannot hold one
        return
    entry = tar.gettarinfo(file, inside)
    entry.mtime = 0
    entry.uname = entry.gname = ""
    if not layer.keep_owners:
        entry.uid = entry.gid = 0
    if entry.isreg():
        with file.open("rb") as content:
            tar.addfile(entry, content)
    else:
        tar.addfile(entry)


def _blob(content: IO[bytes]) -> Blob:
    content.seek(0)
    digest = hashlib.sha256()
    size = 0
    while chunk := content.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    content.seek(0)
    return Blob(digest.hexdigest(), size, content)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _platform() -> dict[str, str]:
    machine = platform.machine()
    return {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine), "os": "linux"}


def _manifest(layers: Sequence[Blob], config: Config) -> tuple[Blob, Blob]:
    """Give the manifest, and the configuration that it names."""
    diff_ids = [f"sha256:{layer.digest}" for layer in layers]
    image = _platform() | {
        "created": "1970-01-01T00:00:00Z",
        "config": config.to_json(),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    image_blob = _blob(io.BytesIO(_json(image)))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": image_blob.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER) for layer in layers],
    }
    return _blob(io.BytesIO(_json(manifest))), image_blob


def _index(manifest: Blob, name: str, tag: str) -> bytes:
    # containerd takes the whole name from its own annotation, everybody else the tag from the standard one.
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
    entry = manifest.descriptor(MANIFEST) | {"platform": _platform(), "annotations": names}
    return _json({"schemaVersion": 2, "manifests": [entry]})


def _write_layout(out: IO[bytes], index: bytes, blobs: Sequence[Blob]) -> None:
    small = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in small.items():
            _add_file(tar, name, len(content), io.BytesIO(content))
        # Two equal layers are one blob.
        for digest, blob in sorted({blob.digest: blob for blob in blobs}.items()):
            _add_file(tar, f"blobs/sha256/{digest}", blob.size, blob.content)


def _add_file(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    tar.addfile(entry, content)
