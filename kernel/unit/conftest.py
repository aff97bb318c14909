"""A mirror of made-up packages: an `apt-get` and a `dpkg-deb` on PATH, as real processes."""

import os
from pathlib import Path

import pytest

# What it was asked goes to `calls`; `fail-ACTION` is what it says and fails with, `hook-ACTION` is run first.
APT = r"""#!/bin/bash
here=$(dirname "$0")
for word in "$@"; do
    case $word in update | install | download | indextargets) action=$word && break ;; esac
done
echo "$action" >>"$here/calls"
[ ! -e "$here/hook-$action" ] || . "$here/hook-$action"
[ ! -e "$here/fail-$action" ] || { cat "$here/fail-$action" >&2; exit 100; }
case $action in
    indextargets) cat "$here/targets" ;;
    install)
        for word in "$@"; do
            case $word in
                qemu-system-x86) for each in qemu-system-x86 kmod busybox-static; do
                        echo "'mirror/$each' ${each}_1%3a${VERSION-10}_amd64.deb 5 SHA256:0"
                    done ;;
                linux-image-amd64)
                    echo "'mirror/k' linux-image-6.12.95-amd64_6.12.${VERSION-10}_amd64.deb 5 SHA256:0"
                    echo "'mirror/b' linux-base_4_all.deb 5 SHA256:0" ;;
            esac
        done ;;
    download) for word in "$@"; do case $word in *=*) : >"${word%%=*}.deb" ;; esac; done ;;
esac
"""
DPKG = r"""#!/bin/bash
here=$(dirname "$0")
case $2 in
    *linux-image*)
        mkdir -p "$3/boot" "$3/usr/lib/modules/6.12.95-amd64"
        echo kernel >"$3/boot/vmlinuz-6.12.95-amd64" ;;
    *kmod*)
        mkdir -p "$3/usr/bin"
        printf '#!/bin/sh\n: >"$2/lib/modules/$3/modules.dep"\n' >"$3/usr/bin/kmod"
        chmod 755 "$3/usr/bin/kmod" ;;
esac
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of the two programs; what is in it changes what they do."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, text in {"apt-get": APT, "dpkg-deb": DPKG}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "targets").write_text(
        "bookworm http://mirror.test/debian/ main\njammy http://else.test/ main\n"
    )
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder
