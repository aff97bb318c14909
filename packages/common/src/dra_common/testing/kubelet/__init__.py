"""A kubelet to test a DRA driver against: real sockets, the kubelet's order of calls, its time limits and its rules.

.. code-block:: python

    with FakeKubelet(registry_dir) as kubelet:
        start_driver()
        kubelet.wait_registered("gpu.intel.com")
        answers = kubelet.prepare([ClaimRef("default", "my-claim", uid)])
        assert answers[uid].devices and not answers[uid].error
        kubelet.restart()  # registers again, without a word to the driver
        kubelet.unprepare([ClaimRef("default", "my-claim", uid)])

It watches the registry for sockets, asks who is there (one second), says how the registration went, keeps one
connection to each driver, and calls it with 45 s of patience. An answer that a kubelet would refuse is a
:class:`KubeletCallError`. Given a way to delete ResourceSlices (:func:`api_wiper`), it deletes those of the node at
every start, and those of a driver that was out of reach for 30 s.

It follows the health of devices of drivers that offer to tell it, and forgets it as a kubelet does.

It remembers no claims: every ``prepare`` is a call. :class:`Pods` does, and sends the calls that pods lead to. Unlike a
kubelet it resolves no CDI ids and watches by polling.
"""

from dra_common.testing.kubelet.answers import ClaimAnswer, KubeletCallError, Registered
from dra_common.testing.kubelet.claims import Gate, MemoryClaims
from dra_common.testing.kubelet.fake import FakeKubelet
from dra_common.testing.kubelet.health import V1, V1ALPHA1, HealthRules, SeenHealth
from dra_common.testing.kubelet.node import KubeletNode
from dra_common.testing.kubelet.pods import Pod, PodFailed, Pods
from dra_common.testing.kubelet.wiping import WipeSlices, api_wiper

__all__ = [
    "V1",
    "V1ALPHA1",
    "ClaimAnswer",
    "FakeKubelet",
    "Gate",
    "HealthRules",
    "KubeletCallError",
    "KubeletNode",
    "MemoryClaims",
    "Pod",
    "PodFailed",
    "Pods",
    "Registered",
    "SeenHealth",
    "WipeSlices",
    "api_wiper",
]
