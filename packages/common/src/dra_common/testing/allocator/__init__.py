"""What the scheduler does with a ResourceClaim, for one node, and why it does not.

.. code-block:: python

    allocator = Allocator(slices, classes, node="node-a", allocated=claims)
    outcome = allocator.allocate(claim)
    if isinstance(outcome, Allocation):
        status = {"allocation": outcome.status_allocation}
    else:
        print(outcome)  # device by device and clause by clause

``allocator.objections(claim, allocation)`` holds what somebody else chose against the same rules.

Objects are dicts as the API server stores them (resource.k8s.io/v1). Selectors are real CEL (:mod:`.cel`). Supported:
``exactly`` (ExactCount, All), ``firstAvailable``, selectors of class and request, matchAttribute and distinctAttribute,
adminAccess, taints and tolerations, shared counters, devices that allow multiple allocations and requests for an amount
of their capacity, several drivers in one claim, incomplete and invalid pools. Not supported: slices with a node
selector or a node per device, binding conditions, several claims of a pod at once.

Semantics: KEP-4381, KEP-4816 (firstAvailable), KEP-5055 (taints), KEP-4815 (counters), KEP-5075 (consumable capacity);
where these leave it open, those of the scheduler of Kubernetes 1.37, to which ``e2e/tests/test_allocator.py`` compares
it. Needs the extra ``testing``.
"""

from dra_common.testing.allocator.allocator import Allocator
from dra_common.testing.allocator.outcome import Allocation, Reason, Unsatisfiable
from dra_common.testing.allocator.store import allocate_and_store

__all__ = ["Allocation", "Allocator", "Reason", "Unsatisfiable", "allocate_and_store"]
