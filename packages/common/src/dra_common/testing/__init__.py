"""A cluster's edges to test a DRA driver against: behavioural fakes over real sockets and real HTTP.

``kubelet.FakeKubelet`` finds registration sockets, registers drivers and calls them as the kubelet does. Nothing here is
imported by a driver that runs on a node.
"""
