"""The two images that every cluster has: `pause`, which Kubernetes starts for each pod, and a busybox to work with."""

import os
import shutil
import subprocess
from pathlib import Path

from harness.components import PAUSE_IMAGE
from harness.errors import HarnessError
from harness.oci import Config, Layer, write_image

BUSYBOX = "/bin/busybox"
BUSYBOX_IMAGE = "e2e.local/busybox:1"


def write_pause(source: Path, folder: Path) -> Path:
    """Compile Kubernetes' own pause.c without any library and make the image; its file in ``folder``."""
    rootfs = folder / "pause-rootfs"
    rootfs.mkdir()
    command = ["gcc", "-Os", "-static", "-s", "-DVERSION=e2e", "-o", str(rootfs / "pause"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"gcc cannot compile pause.c: {done.stderr.strip().splitlines()[-1]}")
    image = folder / "pause.tar"
    write_image(image, PAUSE_IMAGE, [Layer(rootfs)], Config(entrypoint=["/pause"]))
    shutil.rmtree(rootfs)
    return image


def write_busybox(folder: Path) -> Path:
    """Make an image of this machine's static busybox and a name for each of its programs; its file in ``folder``."""
    rootfs = folder / "busybox-rootfs"
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "var"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "tmp").chmod(0o1777)
    shutil.copy2(BUSYBOX, rootfs / "bin" / "busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in set(listed) - {"busybox"}:
        (rootfs / "bin" / name).symlink_to("busybox")
    (rootfs / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    image = folder / "busybox.tar"
    write_image(image, BUSYBOX_IMAGE, [Layer(rootfs)], Config(command=["/bin/sh"]))
    shutil.rmtree(rootfs)
    return image


def is_static(program: str = BUSYBOX) -> bool:
    """Whether a program runs without libraries of the system: it names no interpreter in its ELF headers."""
    return os.path.exists(program) and b"/ld-" not in Path(program).read_bytes()[:4096]  # noqa: PTH110 # not Path
