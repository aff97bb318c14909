"""The cache of built programs, with a made-up `go` on PATH: real processes, locks and kills."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import settings
from harness.errors import HarnessError
from harness.sandbox import HARNESS
from harness.tools import PROGRAMS, Tools, tools
from harness.waiting import wait_for

MOD = """module e2e/tools/1.99

go 1.26.0

require (
	github.com/containerd/containerd/v2 v2.9.1
	k8s.io/kubernetes v1.99.3
)
"""
PAUSE = "int main(void) { return 0; }\n"
GO = """#!/bin/sh
# What it was asked goes to $CALLS; a file `go-$1` beside it is run first.
here=$(dirname "$0")
echo "$*" >>"$here/calls"
[ ! -e "$here/go-$1" ] || . "$here/go-$1"
case $1 in
    version) echo go version ${VERSION-go1.26.8} linux/amd64 ;;
    list) [ "$2" = -m ] && echo "$here/module" || printf 'a\\nb\\nc\\n' ;;
    build)
        echo k8s.io/api/core/v1 >&2
        while [ "$1" != -o ]; do shift; done
        mkdir -p "$2"
        for each in PROGRAMS; do echo "$each" >"$2/$each"; done ;;
esac
"""
GCC = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
cat "$3" >"$2"
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `go` and a `gcc` on PATH that build what the pinned versions of Kubernetes 1.99 ask for."""
    folder = tmp_path / "go"
    pause = folder / "module" / "build" / "pause" / "linux"
    pause.mkdir(parents=True)
    (pause / "pause.c").write_text(PAUSE)
    names = " ".join("server" if name == "etcd" else name for name in PROGRAMS)
    (folder / "go").write_text(GO.replace("PROGRAMS", names))
    (folder / "go").chmod(0o755)
    (folder / "gcc").write_text(GCC)
    (folder / "gcc").chmod(0o755)
    pinned = tmp_path / "e2e" / "tools" / "1.99"
    pinned.mkdir(parents=True)
    (pinned / "go.mod").write_text(MOD)
    (pinned / "go.sum").write_text("checksums\n")
    monkeypatch.setattr(settings, "E2E", tmp_path / "e2e")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


def builds(go: Path) -> list[str]:
    return [line for line in (go / "calls").read_text().splitlines() if line.startswith("build ")]


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name.partition(".")[2] for path in (tmp_path / "cache" / "dra-drivers-e2e").iterdir())


def test_what_is_built_once_is_there_the_next_time(go: Path, said: list[str]) -> None:
    first = tools("1.99", said.append)
    assert sorted(path.name for path in first.programs.iterdir()) == sorted(PROGRAMS)
    assert (first.programs / "etcd").read_text() == "server\n"
    assert [path.name for path in first.images.iterdir()] == ["pause.tar"]
    assert any("building 3 packages" in line for line in said)
    said.clear()
    assert tools("1.99", said.append) == first
    assert (len(builds(go)), said) == (1, [])


def test_a_build_is_pinned_stamped_and_told_where_to_go(go: Path, said: list[str]) -> None:
    tools("1.99", said.append)
    (build,) = builds(go)
    assert "-X k8s.io/component-base/version.gitVersion=v1.99.3" in build
    assert "-X k8s.io/client-go/pkg/version.gitMinor=99" in build
    assert "-X github.com/containerd/containerd/v2/version.Version=2.9.1" in build
    assert build.endswith(".new/bin/ tool")


@pytest.mark.parametrize("changed", ["go.mod", "go.sum"])
def test_other_sources_are_another_build(go: Path, said: list[str], tmp_path: Path, changed: str) -> None:
    first = tools("1.99", said.append)
    with (tmp_path / "e2e" / "tools" / "1.99" / changed).open("a") as file:
        file.write("// changed\n")
    assert tools("1.99", said.append) != first
    assert len(builds(go)) == 2


def test_another_go_is_another_build(go: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = tools("1.99", said.append)
    monkeypatch.setenv("VERSION", "go1.27.1")
    assert tools("1.99", said.append) != first


def test_the_flags_of_the_caller_come_before_ours(
    go: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (go / "go-build").write_text('echo "$GOFLAGS" >"$here/flags"\n')
    monkeypatch.setenv("GOFLAGS", "-p=1 -mod=mod")
    tools("1.99", said.append)
    assert (go / "flags").read_text() == "-p=1 -mod=mod -mod=readonly -buildvcs=false -trimpath\n"


@pytest.mark.parametrize("version", ["go1.25.9", "go1.9", "devel"])
def test_an_old_go_is_refused(
    go: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("VERSION", version)
    with pytest.raises(HarnessError, match=r"is too old \(install Go 1\.26\.0 or newer, see "):
        tools("1.99", said.append)


def test_no_go_is_said_with_the_cure(go: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(go / "module"))
    with pytest.raises(HarnessError, match=r"^go is missing \(install Go 1\.26\.0 or newer, see "):
        tools("1.99", said.append)


@pytest.mark.parametrize(
    ("said_by_go", "line"),
    [
        (
            "# k8s.io/api\nwrite /cache/b42: no space left on device",
            "disk full while building: write /cache/b42: no space left on device (free about 6 GB there, ",
        ),
        ("a.go:3:1: undefined: x", "go build failed: a.go:3:1: undefined: x"),
        (
            "go: downloading a v1\ngo: a@v1: 403 Forbidden",
            "go build failed: go: a@v1: 403 Forbidden",
        ),
    ],
)
def test_a_failed_build_is_one_line_and_leaves_nothing(
    go: Path, said: list[str], tmp_path: Path, said_by_go: str, line: str
) -> None:
    (go / "go-build").write_text(f"printf '%s\\n' '{said_by_go}' >&2; exit 1\n")
    with pytest.raises(HarnessError) as failed:
        tools("1.99", said.append)
    assert str(failed.value).startswith(line)
    assert "\n" not in str(failed.value)
    assert [name for name in cached(tmp_path) if not name.endswith("lock")] == []


def test_sources_that_cannot_be_had_are_one_line(go: Path, said: list[str]) -> None:
    (go / "go-list").write_text("echo 'go: a@v1: dial tcp: no such host' >&2; exit 1\n")
    with pytest.raises(HarnessError, match=r"^go list failed: go: a@v1: dial tcp: no such host$"):
        tools("1.99", said.append)


def test_a_program_that_was_not_built_is_missed(go: Path, said: list[str]) -> None:
    text = (go / "go").read_text().replace(" kubelet;", ";")
    (go / "go").write_text(text)
    with pytest.raises(HarnessError, match="everything but kubelet"):
        tools("1.99", said.append)


def test_a_cache_that_cannot_be_made_is_one_line(
    go: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(HarnessError, match=r"cannot keep the tools in .*: Not a directory"):
        tools("1.99", said.append)


BUILDER = """
import sys
from pathlib import Path
from harness import settings
settings.E2E = Path(sys.argv[1])
from harness.tools import tools
print(tools("1.99", lambda text: print(text, file=sys.stderr, flush=True)).folder)
"""


def builder(tmp_path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(tmp_path / "e2e")],
        env=os.environ | {"PYTHONPATH": str(HARNESS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def gate(go: Path) -> Iterator[Path]:
    """Let builds wait until this file is gone."""
    file = go / "gate"
    file.touch()
    (go / "go-build").write_text('echo $$ >>"$here/pids"; while [ -e "$here/gate" ]; do sleep 0.05; done\n')
    yield file
    file.unlink(missing_ok=True)


def building(go: Path, count: int = 1) -> bool:
    pids = go / "pids"
    return pids.exists() and len(pids.read_text().split()) == count


def test_a_second_builder_waits_for_the_first_and_takes_what_it_made(
    go: Path, gate: Path, tmp_path: Path
) -> None:
    with builder(tmp_path) as first:
        wait_for(lambda: building(go), "the first to build")
        with builder(tmp_path) as second:
            assert second.stderr is not None
            assert "another build of 1.99-" in second.stderr.readline()
            gate.unlink()
            folders = {first.communicate()[0], second.communicate()[0]}
    assert len(folders) == 1
    assert (first.returncode, second.returncode, len(builds(go))) == (0, 0, 1)


def test_a_killed_build_takes_go_with_it_and_the_next_one_starts_anew(
    go: Path, gate: Path, tmp_path: Path, said: list[str]
) -> None:
    with builder(tmp_path) as first:
        wait_for(lambda: building(go), "it to build")
        (tmp_path / "cache" / "dra-drivers-e2e").mkdir(exist_ok=True)
        first.send_signal(signal.SIGKILL)
    shell = int((go / "pids").read_text().split()[0])
    wait_for(lambda: not running(shell), "go to be gone too")
    gate.unlink()
    made = tools("1.99", said.append)
    assert isinstance(made, Tools)
    assert sorted(path.name for path in made.programs.iterdir()) == sorted(PROGRAMS)
    assert len(builds(go)) == 2


def running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
