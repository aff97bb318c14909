"""The folders shared with the kubelet."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from dra_common.errors import KubeletError
from dra_common.kubelet.folders import PLUGINS_SETTING, REGISTRY_SETTING, make_plugin_dir, require_registry


def test_a_registry_that_is_there_is_fine(tmp_path: Path) -> None:
    require_registry(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_missing_registry_is_named_with_the_setting_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "plugins_registry"
    with pytest.raises(KubeletError) as refused:
        require_registry(missing)
    assert f"plugin registry {missing} does not exist" in refused.value.message
    assert REGISTRY_SETTING in refused.value.cure
    assert not missing.exists()


def test_a_file_as_registry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plugins_registry"
    path.touch()
    with pytest.raises(KubeletError, match="is not a directory"):
        require_registry(path)


def test_the_plugin_folder_is_made_for_the_driver_alone(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        make_plugin_dir(tmp_path / "gpu.intel.com")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "gpu.intel.com").stat().st_mode) == 0o750


def test_a_plugin_folder_that_is_there_is_kept_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "gpu.intel.com"
    folder.mkdir(mode=0o700)
    (folder / "record").write_text("kept")
    make_plugin_dir(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "record").read_text() == "kept"


def test_a_missing_plugins_directory_is_named_with_the_setting_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(KubeletError) as refused:
        make_plugin_dir(tmp_path / "plugins" / "gpu.intel.com")
    assert f"plugins directory {tmp_path / 'plugins'} does not exist" in refused.value.message
    assert PLUGINS_SETTING in refused.value.cure
    assert not (tmp_path / "plugins").exists()


def test_a_file_as_plugin_folder_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "gpu.intel.com"
    path.write_text("precious")
    with pytest.raises(KubeletError, match="is a file"):
        make_plugin_dir(path)
    assert path.read_text() == "precious"


def test_a_plugins_directory_in_which_nothing_can_be_made_is_named() -> None:
    with pytest.raises(
        KubeletError, match=r"cannot make the driver's folder /proc/gpu\.intel\.com: .*"
    ) as refused:
        make_plugin_dir(Path("/proc/gpu.intel.com"))
    assert PLUGINS_SETTING in refused.value.cure
