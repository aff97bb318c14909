"""Write the go.mod and go.sum of one cluster version, for a maintainer who moves it to newer releases.

    python e2e/tools/pin.py FOLDER KUBERNETES ETCD CONTAINERD HELM
    python e2e/tools/pin.py 1.37 1.37.0 3.7.0 2.4.2 4.3.1

The staging modules of Kubernetes are replaced by its own go.mod with folders beside it; here they are the published
modules of the same release. Every program is a `tool` of that one module, so that what they share is compiled once.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = (
    *(
        f"k8s.io/kubernetes/cmd/{name}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet")
    ),
    *(
        f"github.com/containerd/containerd/v2/cmd/{name}"
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    "go.etcd.io/etcd/server/v3",
)


def go(folder: Path, *arguments: str, flags: str = "-mod=mod") -> str:
    """Run one go command there; what it prints."""
    environment = os.environ | {"GOFLAGS": flags}
    return subprocess.run(
        ["go", *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def staging_modules(folder: Path, kubernetes: str) -> list[str]:
    """Names of the modules that Kubernetes keeps in its own repository."""
    found = json.loads(go(folder, "mod", "download", "-json", f"k8s.io/kubernetes@v{kubernetes}"))
    return re.findall(r"(\S+) => \./staging/src/", Path(found["GoMod"]).read_text(encoding="utf-8"))


def pin(folder: Path, kubernetes: str, etcd: str, containerd: str, helm: str) -> None:
    """Make both files anew; helm's major version is part of its module's name."""
    helm_module = f"helm.sh/helm/v{helm.partition('.')[0]}"
    folder.mkdir(exist_ok=True)
    for name in ("go.mod", "go.sum"):
        (folder / name).unlink(missing_ok=True)
    go(folder, "mod", "init", f"e2e/tools/{folder.name}")
    go(folder, "mod", "edit", "-go=1.24.0")  # the programs raise it to what they need, and no further
    staged = f"v0.{kubernetes.partition('.')[2]}"
    edits = [f"-replace={name}={name}@{staged}" for name in staging_modules(folder, kubernetes)]
    edits += [
        f"-require=k8s.io/kubernetes@v{kubernetes}",
        f"-require=go.etcd.io/etcd/server/v3@v{etcd}",
        f"-require=github.com/containerd/containerd/v2@v{containerd}",
        f"-require={helm_module}@v{helm}",
        *(f"-tool={tool}" for tool in (*TOOLS, f"{helm_module}/cmd/helm")),
    ]
    go(folder, "mod", "edit", *edits)
    go(folder, "list", "-deps", "tool")  # adds what is still missing to both files
    go(folder, "list", "-deps", "tool", flags="-mod=readonly")


if __name__ == "__main__":
    pin(HERE / sys.argv[1], *sys.argv[2:6])
