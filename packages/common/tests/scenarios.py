"""The protocol's scenarios by number: what every DRA driver must get right between kubelet and hardware.

The numbers are those of the protocol notes that this project keeps; their source are the test suites of Kubernetes
(``e2e_node/dra``, ``e2e/dra``, ``pkg/kubelet/cm/dra``, ``kubeletplugin``). A test says with
``@pytest.mark.scenario(n, ...)`` which of them it proves. ``test_scenarios`` fails for a number without a test,
and the table in docs/dev/testing.md is made from here. ``python scenarios.py`` prints every scenario with its tests.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from marks import Proof, listed, marked

SCENARIOS: Mapping[int, str] = {
    # Registration.
    1: "GetInfo says type, name, endpoint and versions in order of preference, within a second",
    2: "the kubelet restarts: it registers the driver again over the socket that is there",
    3: "the driver restarts: it is registered again",
    4: "GetInfo fails for a while: registered later",
    5: "the notification fails for a while: registered later",
    6: "the kubelet refuses: recorded, answered with an error, the process lives on",
    7: "the DRA service listens after the registration does, or on the same socket",
    8: "the DRA service goes and returns on its path: calls work again, over the connection or a new registration",
    9: "serving fails in the background: the process reports itself dead",
    10: "a stale socket is replaced; a regular file in its place is refused at the start",
    11: "SIGTERM removes both sockets and leaves the slices; a second stop does nothing",
    12: "a path too long for a socket",
    13: "no version in common: not registered, and told why; what is not served is not advertised",
    14: "all calls come over one connection",
    15: "kubelets that know v1beta1 only, v1 only, both",
    # Prepare.
    16: "one entry for each UID; the CDI file is there before the answer",
    17: "the same claim again: the same answer, no side effects",
    18: "the same claim after a restart or a reboot of the driver: the same answer, CDI files made again",
    19: "a pod made while the kubelet is down is prepared after its start",
    20: "a prepare that outlasts the deadline: the retry succeeds and allocates nothing twice",
    21: "prepare fails, then succeeds",
    22: "the kubelet restarts during a prepare: the second call waits and gets the same answer",
    23: "the API server is down: an error, no state changed",
    24: "the claim is gone (404): an error",
    25: "the claim was replaced (other UID): an error",
    26: "the claim is not allocated: an error",
    27: "results of several drivers: only ours are prepared; none of ours: success without devices",
    28: "unknown pool or device: an error that names it; other claims of the call succeed",
    29: "a device that another claim holds: an error; allowed for adminAccess and other shares",
    30: "two claims in one call, one is bad: only that one fails",
    31: "opaque configuration: precedence, requests, other drivers', unknown kinds and fields, none at all",
    32: "devices reach the containers of their requests; subrequests count as their request",
    33: "a claim that no container uses is prepared",
    34: "a claim of several pods: prepared once, unprepared after the last",
    35: "several requests and devices in a claim; one device twice with two share ids",
    36: "an answer that skips a claim or names another is refused by the kubelet: ours never does",
    37: "administrators' claims run beside users' and disturb nobody",
    38: "a new claim of the same name after a force delete waits for the old one; state goes by UID",
    39: "a claim made for an extended resource is prepared like any other",
    40: "a claim reserved for a pod group is prepared like any other",
    # Unprepare.
    41: "CDI file and record are gone, the device is as before",
    42: "a claim never prepared, or unprepared already: success",
    43: "the claim's object is gone: works, nobody asks for it",
    44: "the API server is down: works",
    45: "unprepare fails, then succeeds",
    46: "unprepare is tried again after the kubelet's restart",
    47: "the pod was deleted by force: unprepared all the same",
    48: "unprepare by another instance than prepared",
    49: "the device is physically gone: everything else is cleaned up",
    50: "no claims in the call: an empty answer",
    51: "a crash between any two steps: a repeated prepare or unprepare recovers",
    52: "a corrupt or newer record: refused or set aside, never lost silently",
    # Two drivers and updates.
    53: "two drivers on a node: one fails and then succeeds, or is in a call when the kubelet restarts",
    54: "a rolling update: both are registered, the old one stops, no slice changes, claims stay usable",
    55: "the same with a long driver name",
    56: "an update that fails: the new one dies, the old one goes on",
    57: "one after the other: slices outlast a short gap, and come back after a long one",
    58: "locks hold between two processes; those of a killed one are free",
    # ResourceSlices.
    59: "a kubelet start wipes the slices of its node only: they come back",
    60: "slices are wiped when a driver stays out of reach; a quick restart leaves every byte",
    61: "the least is written: nothing, one slice in place, or a new generation; what is obsolete is deleted",
    62: "what a person edits or deletes is put right",
    63: "a deletion right after our own write is put right",
    64: "times of taints are kept; dropped fields are told by feature gate, without an update loop",
    65: "duplicate devices or counter sets, unknown counters: nothing is published, calls are served",
    66: "what the server refuses is told with the field, tried again with pauses, mended by the next publish",
    67: "more than 128 devices, or 64 with taints or counters, are several slices",
    68: "random names become indexed ones; the index grows with the pool",
    69: "the Node owns the slices; a Node made anew owns those made anew",
    71: "a driver can write slices of its own node only; the rights it has are enough, and all needed",
    # Health of devices.
    72: "health and its message are in the pod's status, and recover; kubelets that know v1, v1alpha1 or both",
    73: "the driver stops: unknown; it starts again, or the kubelet does: known again",
    74: "nothing is heard for too long: unknown; it is told again before that",
    75: "health is not watched: the service is neither announced nor implemented",
    76: "claims are prepared while streams are open",
    # What claims and containers are told.
    77: "the driver says in a claim's status what became of its devices; nobody else's part is touched",
    78: "metadata files of a claim's devices are in its containers, and go with the claim",
    # CDI and attributes.
    79: "CDI: minimum version, unknown fields, conflicts, atomic replacement",
    80: "standard attributes from sysfs, and the API's limits kept before it is asked",
}


def proofs() -> Mapping[int, list[Proof]]:
    """Scenario -> the tests that carry its mark."""
    return marked("scenario")


if __name__ == "__main__":
    sys.stdout.write(listed(SCENARIOS, proofs()))
