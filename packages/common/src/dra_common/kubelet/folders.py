"""The two folders that the driver shares with the kubelet.

Both have the same path inside and outside the container: the kubelet dials the paths that we tell it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dra_common.effects import effect
from dra_common.errors import KubeletError

PLUGINS_SETTING: Final = "--kubelet-plugins-dir"
REGISTRY_SETTING: Final = "--kubelet-registry-dir"

_PLUGIN_DIR_MODE: Final = 0o750
"""The driver's folder holds records of claims: nothing for other users of the node."""


def require_registry(registry_dir: Path) -> None:
    """Check the kubelet's ``plugins_registry``, which only the kubelet makes. Raises KubeletError."""
    _require(registry_dir, "the kubelet's plugin registry", REGISTRY_SETTING)


def make_plugin_dir(plugin_dir: Path) -> None:
    """Make the driver's own folder, mode 0750, below the kubelet's ``plugins``. Raises KubeletError."""
    _require(plugin_dir.parent, "the kubelet's plugins directory", PLUGINS_SETTING)
    try:
        with effect("folder", plugin_dir):
            plugin_dir.mkdir(mode=_PLUGIN_DIR_MODE, exist_ok=True)
    except FileExistsError:
        raise KubeletError(
            f"the driver's folder {plugin_dir} is a file", cure=f"remove it, or set {PLUGINS_SETTING}"
        ) from None
    except OSError as error:
        raise KubeletError(
            f"cannot make the driver's folder {plugin_dir}: {error.strerror}",
            cure=f"mount {plugin_dir.parent} writable, or set {PLUGINS_SETTING}",
        ) from error


def _require(folder: Path, what: str, setting: str) -> None:
    try:
        missing = "is not a directory" if folder.exists() else "does not exist"
        if folder.is_dir():
            return
    except OSError as error:
        missing = f"cannot be read: {error.strerror}"
    cure = f"is the kubelet running on this node and its root mounted here? {setting} sets another place"
    raise KubeletError(f"{what} {folder} {missing}", cure=cure)
