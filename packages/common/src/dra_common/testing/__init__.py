"""What a DRA driver is tested against without a cluster: behavioural fakes over real sockets and real HTTP.

.. code-block:: text

    apiserver   FakeApiServer: an API server with versions, history, watches, limits, gates, and faults on demand
    kubelet     FakeKubelet: finds registration sockets, registers drivers, calls them as the kubelet does
    allocator   Allocator: what the scheduler does with a claim on one node, and why it does not, with real CEL
    cdi         resolve(): what a container runtime makes of CDI ids
    node        SimulatedNode: all of these and a simulated machine around the real driver process
    instance    Instance: one of several processes of a SimulatedNode's driver, as during a rolling update
    knobnode    KnobNode: the same on plain files, with the made-up accelerator of ``knobs``; starts in no time
    mortal      a program that is killed, or whose disk fails, at a chosen change to files, hardware or API server
    rig         Rig: the claim engine of any driver on any host, without a kubelet and an API server
    bench       Bench: the claim engine alone on real files, with the made-up accelerator of ``knobs``
    objects     Kubernetes objects for tests
    demo        stories for people, every statement checked

Nothing here is imported by a driver that runs on a node. Needs the extra ``testing``.
"""
