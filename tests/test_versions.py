"""Each package takes its version from its own tags, by the real build plugin in a real git repository."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
COMMON = "packages/common"
GPU = "packages/gpu-driver"

Git = Callable[..., str]


def project(package: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / package / "pyproject.toml").read_text())


def environment(**extra: str) -> dict[str, str]:
    """Nothing of the machine's git settings, and no version given from outside unless the test gives it."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "SETUPTOOLS_SCM_"))
    }
    nothing = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CEILING_DIRECTORIES": "/",
    }
    return kept | nothing | extra


def hatchling(folder: Path, *args: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", *args]
    return subprocess.run(
        command, cwd=folder, env=environment(**extra), capture_output=True, text=True, check=False
    )


def version(folder: Path, **extra: str) -> str:
    done = hatchling(folder, "version", **extra)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a copy of what a build reads, not under version control."""
    for package in (COMMON, GPU):
        source, copy = ROOT / package, tmp_path / package
        copy.mkdir(parents=True)
        for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
            shutil.copy(source / name, copy / name)
        module = next(source.glob("src/*/__init__.py"))
        target = copy / module.relative_to(source)
        target.parent.mkdir(parents=True)
        shutil.copy(module, target)
    return tmp_path


@pytest.fixture
def git(checkout: Path) -> Git:
    """Put the copy under git, with one commit."""

    def run(*args: str) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        command = ["git", *who, *args]
        return subprocess.run(
            command, cwd=checkout, env=environment(), capture_output=True, text=True, check=True
        ).stdout

    run("init", "-q")
    run("add", ".")
    run("commit", "-q", "-m", "first")
    return run


def test_each_package_has_the_version_of_its_own_tag(checkout: Path, git: Git) -> None:
    git("tag", "gpu-v0.2.0")
    git("tag", "common-v0.5.0")
    git("tag", "gaudi-v9.9.9")
    assert version(checkout / GPU) == "0.2.0"
    assert version(checkout / COMMON) == "0.5.0"


def test_a_commit_after_the_tag_is_a_development_version_of_the_next(checkout: Path, git: Git) -> None:
    git("tag", "-a", "gpu-v0.2.0", "-m", "annotated as releases are")
    git("commit", "-q", "--allow-empty", "-m", "second")
    git("tag", "common-v0.5.0-rc.1")
    assert version(checkout / GPU) == "0.2.1.dev1"
    assert version(checkout / COMMON) == "0.5.0rc1"


def test_without_a_tag_the_version_counts_commits(checkout: Path, git: Git) -> None:
    git("commit", "-q", "--allow-empty", "-m", "second")
    git("tag", "gaudi-v0.9.0")
    assert version(checkout / GPU) == "0.1.0.dev2"
    assert version(checkout / COMMON) == "0.1.0.dev2"


def test_a_shallow_clone_builds(checkout: Path, git: Git, tmp_path: Path) -> None:
    git("tag", "gpu-v0.2.0")
    git("commit", "-q", "--allow-empty", "-m", "second")
    git("clone", "-q", "--depth=1", f"file://{checkout}", str(tmp_path / "shallow"))
    assert version(tmp_path / "shallow" / GPU) == "0.1.0.dev1"


@pytest.mark.parametrize("package", [COMMON, GPU])
def test_without_git_the_build_fails_and_says_the_cure(checkout: Path, package: str) -> None:
    done = hatchling(checkout / package, "version")
    assert done.returncode != 0
    assert "unable to detect version" in done.stderr
    name = project(package)["project"]["name"].upper().replace("-", "_")
    assert f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{name}" in done.stderr


def test_without_git_each_package_can_be_told_its_version(checkout: Path) -> None:
    told = {
        "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DRA_GPU_DRIVER": "0.2.0",
        "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DRA_COMMON": "0.5.0",
    }
    assert version(checkout / GPU, **told) == "0.2.0"
    assert version(checkout / COMMON, **told) == "0.5.0"


def test_a_wheel_made_from_an_sdist_away_from_git_has_the_version(
    checkout: Path, git: Git, tmp_path: Path
) -> None:
    git("tag", "gpu-v0.2.0")
    assert hatchling(checkout / GPU, "build", "-t", "sdist").returncode == 0
    archive = checkout / GPU / "dist" / "dra_gpu_driver-0.2.0.tar.gz"
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    away = tmp_path / "dra_gpu_driver-0.2.0"
    done = hatchling(away, "build", "-t", "wheel")
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(away / "dist" / "dra_gpu_driver-0.2.0-py3-none-any.whl").namelist()
    assert "gpu_driver/__init__.py" in names
    assert "dra_gpu_driver-0.2.0.dist-info/licenses/LICENSE" in names


def bound_on_common(package: str) -> Requirement:
    requirements = map(Requirement, project(package)["project"]["dependencies"])
    return next(requirement for requirement in requirements if requirement.name == "dra-common")


def test_the_driver_bounds_dra_common_from_both_sides() -> None:
    operators = {specifier.operator for specifier in bound_on_common(GPU).specifier}
    assert operators == {">=", "<"}


def test_a_clone_without_tags_satisfies_the_bound(checkout: Path, git: Git) -> None:
    git("commit", "-q", "--allow-empty", "-m", "second")
    built = Version(version(checkout / COMMON))
    assert bound_on_common(GPU).specifier.contains(built, prereleases=True)


def test_both_packages_support_the_same_pythons() -> None:
    pythons = {project(package)["project"]["requires-python"] for package in (COMMON, GPU)}
    assert pythons == {">=3.11"}
