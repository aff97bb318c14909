"""What `make image` says when it cannot build; e2e/tests/test_chart.py runs what it builds."""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import build_image  # noqa: E402 - a script beside the others in tools/


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert build_image.main(arguments) == 1
    return only_line(capfd)


def only_line(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_without_root_it_says_so(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root is needed" in said(capfd)


def test_what_is_missing_is_named_with_how_to_get_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert said(capfd) == "build_image: missing buildah, mmdebstrap: apt-get install buildah mmdebstrap\n"
    assert said(capfd, "--base=debian:12-slim") == "build_image: missing buildah: apt-get install buildah\n"


def test_a_step_that_fails_is_one_line_and_leaves_no_file(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "buildah").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "buildah").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("STORE", "SCRATCH", "RUN"):
        monkeypatch.setattr(build_image, name, tmp_path / name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    output = tmp_path / "out/image.tar"
    assert build_image.build(build_image.parse(["--base=debian:12-slim", f"--output={output}"])) == 1
    assert only_line(capfd) == "build_image: buildah ended with exit code 7, see above\n"
    assert not output.exists()


@pytest.mark.parametrize("driver", ["gpu-driver", "gaudi-driver"])
def test_each_driver_has_an_image_of_its_name(driver: str) -> None:
    options = build_image.parse([f"--driver={driver}"])
    assert options.tag == f"localhost/intel-{driver}:dev"
    assert options.output == ROOT / f"dist/intel-{driver}.tar"


def test_a_driver_that_is_not_there_is_refused_with_those_that_are(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        build_image.parse(["--driver=other-driver"])
    assert "choose from gaudi-driver, gpu-driver" in capfd.readouterr().err.replace("'", "")


def test_the_containerfile_copies_only_what_the_build_may_see() -> None:
    """What .dockerignore hides cannot be copied."""
    text = (ROOT / "deployments/Containerfile").read_text()
    copied = [
        line.split()[1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {path.split("/")[0] for path in copied} == allowed
