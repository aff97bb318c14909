from __future__ import annotations

import json
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

MODULE = [sys.executable, "-m", "dra_common.testing.apiserver"]


def get(url: str, path: str) -> Any:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.request("GET", path)
    answer = json.load(connection.getresponse())
    connection.close()
    return answer


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal(tmp_path: Path, stop: signal.Signals) -> None:
    config = tmp_path / "kubeconfig"
    command = [
        *MODULE,
        "--version",
        "1.37",
        "--node",
        "n1",
        "--gate",
        "DRADeviceTaints=false",
        "--kubeconfig",
        str(config),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert json.loads(config.read_text())["clusters"][0]["cluster"]["server"] == url
        assert get(url, "/api/v1/nodes/n1")["metadata"]["name"] == "n1"
        assert get(url, "/version")["minor"] == "37"
        process.send_signal(stop)
        assert process.wait(timeout=60) == 0


def test_refuses_an_unknown_version() -> None:
    result = subprocess.run(
        [*MODULE, "--version", "1.20"], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 2
    assert "1.34" in result.stderr
