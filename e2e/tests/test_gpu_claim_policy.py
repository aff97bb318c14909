"""Configuration that the driver would refuse is refused by the API server, when somebody creates it."""

import http
from collections.abc import Iterator

import pytest
from harness.api import ApiError, Json
from harness.cluster import Cluster
from harness.driver import Driver
from harness.namespace import Namespace
from harness.waiting import wait_for

GROUP = "resource.k8s.io/v1"
CLASSES = f"/apis/{GROUP}/deviceclasses"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = f"{POLICIES.removesuffix('policies')}policybindings"
POLICY = "intel-gpu-gpu-intel-gpu-driver-claims"
HEAD = {"apiVersion": "gpu.intel.com/v1alpha1", "kind": "GpuConfig"}
REQUEST = {"name": "gpu", "exactly": {"deviceClassName": "gpu.intel.com"}}


def config(parameters: Json, driver: str = "gpu.intel.com") -> Json:
    return {"opaque": {"driver": driver, "parameters": parameters}}


def claim(parameters: Json, name: str = "c", driver: str = "gpu.intel.com") -> Json:
    spec = {"devices": {"requests": [REQUEST], "config": [config(parameters, driver)]}}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name},
        "spec": spec,
    }


def template(parameters: Json) -> Json:
    inner = claim(parameters)
    return {**inner, "kind": "ResourceClaimTemplate", "spec": {"spec": inner["spec"]}}


def device_class(parameters: Json, name: str = "policy-test") -> Json:
    spec = {"config": [config(parameters)]}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.fixture
def enforced(gpus: Driver, namespace: Namespace) -> Namespace:
    """A namespace in a cluster whose API server has taken notice of the policy."""
    wait_for(lambda: refusal(namespace, claim({**HEAD, "probe": 1})), "the policy to be enforced", 60)
    return namespace


def refusal(namespace: Namespace, made: Json) -> str:
    """Why the API server does not take an object; empty if it does, and then nothing is left of it."""
    plural = f"{made['kind'].lower()}s" if made["kind"] != "DeviceClass" else "deviceclasses"
    path = CLASSES if plural == "deviceclasses" else namespace.path(f"{GROUP}/{plural}")
    try:
        namespace.cluster.api.create(f"{path}?dryRun=All", made)
    except ApiError as error:
        if error.status != http.HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        return str(error)
    return ""


@pytest.mark.parametrize("make", [claim, template, device_class], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"bindings": "vfio"}, "GpuConfig has no field bindings"),
        ({"binding": "VFIO"}, "GpuConfig field binding must be drm or vfio"),
        ({"binding": 7}, "GpuConfig field binding must be drm or vfio"),
        ({"keepBinding": "true"}, "GpuConfig field keepBinding must be true or false"),
        ({"kind": "GpuConfigs"}, "opaque configuration for gpu.intel.com must be one of: GpuConfig"),
        ({"apiVersion": "v1"}, "opaque configuration for gpu.intel.com must be one of: GpuConfig"),
    ],
)
def test_what_the_driver_would_refuse_is_refused(
    enforced: Namespace, make: object, said: Json, why: str
) -> None:
    assert callable(make)
    assert why in refusal(enforced, make({**HEAD, **said}))


@pytest.mark.parametrize("make", [claim, template, device_class], ids=lambda make: make.__name__)
def test_what_is_right_is_taken(enforced: Namespace, make: object) -> None:
    assert callable(make)
    for said in ({}, {"binding": "vfio", "iommu": "iommufd"}, {"binding": None}):
        assert refusal(enforced, make({**HEAD, **said})) == ""


def test_fields_of_the_administrator_are_taken_in_a_class_only(enforced: Namespace) -> None:
    for field in ("keepBinding", "allowSharedGroup"):
        for make in (claim, template):
            why = refusal(enforced, make({**HEAD, field: True}))
            assert f"GpuConfig field {field} may be set in the DeviceClass only" in why
        assert refusal(enforced, device_class({**HEAD, field: True})) == ""


def test_configuration_of_others_is_not_looked_at(enforced: Namespace) -> None:
    assert refusal(enforced, claim({"anything": ["goes"]}, driver="x.example.com")) == ""


def test_every_version_of_the_api_is_watched(enforced: Namespace, cluster: Cluster) -> None:
    """Another version is another way to the same object."""
    found = cluster.api.get("/apis/resource.k8s.io")
    served = [each["version"] for each in found["versions"]]
    for version in served:
        bad = {**device_class({**HEAD, "binding": "x"}), "apiVersion": f"resource.k8s.io/{version}"}
        with pytest.raises(ApiError, match="field binding must be"):
            cluster.api.create(f"/apis/resource.k8s.io/{version}/deviceclasses?dryRun=All", bad)


def test_the_expressions_have_the_types_of_the_objects(enforced: Namespace, cluster: Cluster) -> None:
    """The API server checks them against its schemas, and warns in the policy's status."""
    assert refusal(enforced, claim(HEAD)) == ""

    def checked() -> list[Json]:
        status = cluster.api.get(f"{POLICIES}/{POLICY}").get("status", {})
        return [status] if "observedGeneration" in status else []

    [found] = wait_for(checked, "the types to be checked", 60)
    assert found.get("typeChecking", {}).get("expressionWarnings", []) == []


@pytest.fixture
def binding(gpus: Driver, namespace: Namespace) -> Iterator[Json]:
    """Go back to the time before somebody installed the policy; what puts it in force, which is there afterwards."""
    api = gpus.cluster.api
    found = api.get(f"{BINDINGS}/{POLICY}")
    kept = {name: found["metadata"][name] for name in ("name", "labels", "annotations")}
    api.delete(f"{BINDINGS}/{POLICY}")
    wait_for(lambda: not refusal(namespace, claim({**HEAD, "probe": 1})), "the policy to be forgotten", 60)
    yield {**found, "metadata": kept}
    if api.find(f"{BINDINGS}/{POLICY}") is None:
        api.create(BINDINGS, {**found, "metadata": kept})


def test_a_claim_made_before_the_policy_can_be_changed_and_deleted(
    cluster: Cluster, namespace: Namespace, binding: Json
) -> None:
    path, old = namespace.path(f"{GROUP}/resourceclaims"), claim({**HEAD, "old": True}, name="old")
    old["metadata"]["finalizers"] = ["example.com/kept"]
    cluster.api.create(path, old)
    cluster.api.create(BINDINGS, binding)
    wait_for(lambda: refusal(namespace, claim({**HEAD, "probe": 1})), "the policy to be enforced", 60)
    cluster.api.delete(f"{path}/old")
    # No patch: that writes opaque parameters anew, and what has other white space is another spec.
    now = cluster.api.get(f"{path}/old")
    del now["metadata"]["finalizers"]
    cluster.api.replace(f"{path}/old", now)
    wait_for(lambda: cluster.api.find(f"{path}/old") is None, "the claim to be gone", 30)
