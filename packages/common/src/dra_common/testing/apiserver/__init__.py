"""A behavioural kube-apiserver for DRA, over real HTTP, in the test's own process.

.. code-block:: python

    with FakeApiServer(version="1.36") as server:
        server.create("Node", {"metadata": {"name": "n1"}})
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
        ...  # start what is to be tested with this kubeconfig
        server.wait_for(lambda: server.objects("ResourceSlice"), what="the first slice")
        server.drop_watches()

What is served stands in one table (:mod:`dra_common.testing.apiserver.table`).
"""

from dra_common.testing.apiserver.faults import Fault, Faults
from dra_common.testing.apiserver.messages import Request
from dra_common.testing.apiserver.server import FakeApiServer
from dra_common.testing.apiserver.status import Refusal

__all__ = ["FakeApiServer", "Fault", "Faults", "Refusal", "Request"]
