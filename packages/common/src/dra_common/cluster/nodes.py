"""The Node object, of which we need the UID only: it owns our ResourceSlices."""

from __future__ import annotations

from urllib.parse import quote

from dra_common.cluster.answers import reworded
from dra_common.errors import ClusterError, NotFound
from dra_common.ports import ApiServer


def node_uid(api: ApiServer, name: str) -> str:
    """GET the node's UID. Raises NotFound (naming ``--node-name``) if there is no such node, and ClusterError."""
    try:
        node = api.get(f"/api/v1/nodes/{quote(name, safe='')}")
    except NotFound as error:
        cure = "check --node-name (NODE_NAME): it must be this node's name as `kubectl get nodes` shows it"
        raise reworded(error, f"node {name} is not known to the API server", cure) from error
    except ClusterError as error:
        raise reworded(error, f"node {name}") from error
    uid = node.get("metadata", {}).get("uid")
    if not isinstance(uid, str) or not uid:
        raise ClusterError(
            f"node {name}: the API server's answer has no metadata.uid", cure="check --kubeconfig"
        )
    return uid
