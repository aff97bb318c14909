"""Which API server, and as whom: the ServiceAccount of the pod, or a kubeconfig."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from kubernetes.client import Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader

from dra_common.cluster.client import ClusterClient
from dra_common.errors import SettingsError
from dra_common.telemetry import SILENT, Counts

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts the pod's token and the cluster's CA."""


def connect(kubeconfig: str | None = None, *, counts: Counts = SILENT) -> ClusterClient:
    """Return a client; nothing is sent yet.

    Args:
        kubeconfig: path of a kubeconfig; None or empty = the pod's ServiceAccount, whose token is read for each request
            because the kubelet rotates it.
        counts: is told of every request.

    Raises SettingsError if the kubeconfig cannot be used, or if there is none and this is no pod.
    """
    configuration = Configuration()
    if kubeconfig:
        _from_file(Path(kubeconfig), configuration)
    else:
        _from_pod(configuration)
    return ClusterClient(configuration, counts=counts)


def _from_pod(configuration: Configuration) -> None:
    loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
        token_filename=str(SERVICE_ACCOUNT / "token"),
        cert_filename=str(SERVICE_ACCOUNT / "ca.crt"),
        environ=os.environ,
    )
    try:
        loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        message = (
            f"no API server: there is no --kubeconfig, and this is not a pod with a ServiceAccount: {error}"
        )
        raise SettingsError(
            message, cure="give --kubeconfig FILE, or set automountServiceAccountToken: true"
        ) from error
    configuration.refresh_api_key_hook = partial(_read_token, SERVICE_ACCOUNT / "token")  # type: ignore[assignment]


def _read_token(path: Path, configuration: Configuration) -> None:
    """Take the token as it is now; raises OSError and ConfigException, which the transport explains.

    The library's own hook asks the wall clock whether a minute is over: one that was set back by an hour would keep
    an expired token for an hour. Reading a few hundred bytes of tmpfs for each request needs no clock.
    """
    token = path.read_text()
    if not token:
        raise ConfigException("the token file is empty")
    configuration.api_key["BearerToken"] = f"bearer {token}"


def _from_file(path: Path, configuration: Configuration) -> None:
    # Only here, and in no pod: it comes with every way to log in that a kubeconfig can name.
    from kubernetes.config.kube_config import load_kube_config  # noqa: PLC0415

    _check(path)
    # The library's default is http://localhost: a kubeconfig without a server would silently mean that.
    configuration.host = ""
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(path), client_configuration=configuration, persist_config=False
        )
    except (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _broken(path, " ".join(str(error).split()) or type(error).__name__) from error
    if not str(configuration.host).startswith(("http://", "https://")):
        raise _broken(path, f"its current context has no server with a URL: {configuration.host!r}")


def _check(path: Path) -> None:
    """Refuse what is no kubeconfig at all before the library stumbles over it in its own words."""
    import yaml  # noqa: PLC0415 - 2 MiB, which a pod with a ServiceAccount has no use for

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        message = f"kubeconfig {path} cannot be read: {error.strerror}"
        raise SettingsError(message, cure="check --kubeconfig and the file's permissions") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _broken(path, "it is not YAML: " + " ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise _broken(path, "it is not a mapping")


def _broken(path: Path, why: str) -> SettingsError:
    return SettingsError(
        f"kubeconfig {path} cannot be used: {why}",
        cure="check it with: kubectl --kubeconfig FILE config view",
    )
