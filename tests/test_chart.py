"""What of the charts can be held true without helm and without a cluster; e2e/tests/test_chart.py does the rest."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dra_common.cli import create
from dra_common.settings import Settings
from dra_common.slices import parse_features
from gpu_driver.__main__ import DEFINITION
from typer.main import get_command

ROOT = Path(__file__).parent.parent
CHARTS = sorted(ROOT.glob("deployments/*/chart"))
GPU = ROOT / "deployments/gpu-driver/chart"
sys.path.insert(0, str(ROOT / "tools"))

import admission  # noqa: E402 - scripts beside the others in tools/
import docs_chart  # noqa: E402


def schema(chart: Path = GPU) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    return found


def values(chart: Path = GPU) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return found


def templates(chart: Path = GPU) -> str:
    return "\n".join(path.read_text() for path in sorted((chart / "templates").iterdir()))


def with_value(name: str, value: object) -> dict[str, Any]:
    found = values()
    here = found
    *parents, last = name.split(".")
    for key in parents:
        here = here[key]
    here[last] = value
    return found


def leaves(part: dict[str, Any], path: str = "") -> set[str]:
    """Names of what a schema describes, down to where anything goes."""
    found = set()
    for key, each in part["properties"].items():
        name = f"{path}{key}"
        found |= leaves(each, f"{name}.") if "properties" in each and name != RESOURCES else {name}
    return found


RESOURCES = "kubeletPlugin.resources"


# --------------------------------------------------------------------------- values


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.parent.name)
def test_defaults_are_allowed(chart: Path) -> None:
    jsonschema.Draft7Validator.check_schema(schema(chart))
    jsonschema.validate(values(chart), schema(chart), jsonschema.Draft7Validator)


@pytest.mark.defect(19)
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.parent.name)
def test_every_value_is_described_has_a_type_and_is_used(chart: Path) -> None:
    described = {value.name for value in docs_chart.values(chart)}
    assert described == leaves(schema(chart)) - {"global"}
    assert [name for name in described if f".Values.{name}" not in templates(chart)] == []


def test_no_template_uses_a_value_that_is_not_there() -> None:
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", templates()))
    assert used <= {value.name for value in docs_chart.values(GPU)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image.tag", 1),
        ("image.tag", "not a tag"),
        ("image.pullPolicy", "Sometimes"),
        ("image.nmae", "typo"),
        ("imagePullSecrets", ["my-secret"]),
        ("imagePullSecrets", [{"name": "My_Secret"}]),
        ("serviceAccount.name", "Not/A/Name"),
        ("kubeletPlugin.healthcheckPort", 0),
        ("kubeletPlugin.healthcheckPort", 65536),
        ("kubeletPlugin.healthcheckPort", "51516"),
        ("kubeletPlugin.nodeSelector", {"gpu": True}),
        ("kubeletPlugin.resources", {"limit": {}}),
        ("kubeletPlugin.tolerations", {"operator": "Exists"}),
        ("logging.verbosity", -1),
        ("logging.format", "xml"),
        ("metrics.port", 0),
        ("host.kubeletDir", "var/lib/kubelet"),
        ("host.kubeletDir", "/var/lib/kubelet/"),
        ("host.sysfs", ""),
        ("host.devfs", "/"),
        ("cdi.dynamicPath", ""),
        ("serverFeaturesOff", ["tants"]),
        ("serverFeaturesOff", ["taints", "taints"]),
        ("extendedResourceName", "gpu"),
        ("extendedResourceName", "kubernetes.io/gpu"),
        ("extendedResourceName", "requests.kubernetes.io/gpu"),
        ("simulatedDevices.profile", "/etc/passwd"),
        ("cleanup", "yes"),
        ("healthMonitoring", {}),
        ("config", {"devises": []}),
        ("config", {"devices": [{"publish": False}]}),
        ("config", {"devices": [{"match": {"pciId": 0x56C0}, "publish": False}]}),
        ("config", {"nodes": [{"match": ["a"], "nodes": []}]}),
        ("config", {"kind": "GpuDriverConfig"}),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(with_value(name, value), schema(), jsonschema.Draft7Validator)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image.tag", "v1.2.3-rc.1_x"),
        ("imagePullSecrets", [{"name": "my-secret"}]),
        ("cdi.staticPath", ""),
        ("extendedResourceName", "example.com/gpu.large"),
        ("serverFeaturesOff", ["taints", "consumable_capacity"]),
        ("kubeletPlugin.resources", {}),
        ("config", {"devices": [{"match": {"family": "Arc*", "pciId": ["0x56*"]}, "publish": False}]}),
        ("config", {"nodes": [{"match": "a*", "devices": [{"match": {}}]}]}),
    ],
)
def test_a_right_value_is_not(name: str, value: object) -> None:
    jsonschema.validate(with_value(name, value), schema(), jsonschema.Draft7Validator)


@pytest.mark.defect(19)
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.parent.name)
def test_cluster_scoped_objects_of_two_releases_do_not_meet(chart: Path) -> None:
    """Their names have the namespace; only DeviceClasses have names that users know."""
    kinds = re.compile(r"^kind: (Cluster\w+|ValidatingAdmission\w+)\nmetadata:\n  name: (.*)$", re.MULTILINE)
    found = dict(kinds.findall(templates(chart)))
    assert found.keys() >= {"ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy"}
    wanted = '{{ include "driver.clusterName" . }}'
    assert [name for name in found.values() if not name.startswith(wanted)] == []
    assert '"%s-%s" .Release.Namespace' in templates(chart)


@pytest.mark.defect(19)
def test_pods_go_to_nodes_by_labels_that_every_node_has() -> None:
    """Not by labels that somebody else has to set; what an operator adds is in values."""
    found = re.findall(r"nodeSelector:\n((?:  [a-z].*\n)+)", templates())
    assert found
    assert set(found) == {"  kubernetes.io/os: linux\n"}
    assert values()["kubeletPlugin"]["nodeSelector"] == {}


# --------------------------------------------------------------------------- what the driver is told


def options(command: str) -> dict[str, str]:
    """Variable -> option of one command of the driver."""
    found = get_command(create(DEFINITION)).commands[command].params  # type: ignore[attr-defined]
    pairs = ((option.envvar, option.opts[0]) for option in found if getattr(option, "envvar", None))
    return {name[0] if isinstance(name, list) else name: option for name, option in pairs}


def variables(text: str) -> set[str]:
    return set(re.findall(r"- name: ([A-Z][A-Z_]*)\n\s+value", text))


@pytest.mark.defect(19)
def test_variables_of_the_pods_are_options_of_the_commands_that_they_run() -> None:
    helpers = (GPU / "templates/_helpers.tpl").read_text()
    places = variables(helpers.partition('define "driver.places"')[2].partition("{{- define")[0])
    run = variables(helpers) | variables((GPU / "templates/daemonset.yaml").read_text())
    assert places
    assert places | run <= options("run").keys()
    assert places <= options("cleanup").keys()
    assert "POD_UID" in run


def test_the_config_map_is_a_file_of_the_driver() -> None:
    kind = DEFINITION.driver.policy_kind
    assert kind is not None
    template = (GPU / "templates/config.yaml").read_text()
    assert f'"apiVersion" "{kind.api_version}" "kind" "{kind.kind}"' in template
    mounted = templates()
    [path] = re.findall(r"name: CONFIG\s+value: (\S+)", mounted)
    assert f"mountPath: {Path(path).parent}\n" in mounted
    assert f"{Path(path).name}: |" in template


def test_the_policy_of_claims_is_made_from_the_kinds_that_the_driver_reads() -> None:
    """And so is stale when a kind changes and nobody generates it."""
    made = admission.template(DEFINITION.driver.name, DEFINITION.driver.config_kinds)
    assert (GPU / "templates/claims.yaml").read_text() == made


def test_the_simulated_machine_is_one_that_the_driver_has() -> None:
    assert values()["simulatedDevices"]["profile"] in DEFINITION.simulation().profiles
    text = (GPU / "templates/simulated.yaml").read_text()
    asked = set(re.findall(r"- (--[a-z-]+)", text))
    known = get_command(create(DEFINITION)).commands["simulate"].params  # type: ignore[attr-defined]
    assert asked == {"--profile", "--root", "--device-nodes"}
    assert asked <= {name for option in known for name in option.opts}


def test_server_features_are_those_that_the_driver_knows() -> None:
    names = schema()["properties"]["serverFeaturesOff"]["items"]["enum"]
    assert list(parse_features(",".join(names), "serverFeaturesOff")) == names


def test_the_default_places_are_the_drivers() -> None:
    default, given = Settings(node_name=""), values()
    assert Path(given["host"]["kubeletDir"]) / "plugins" == default.kubelet_plugins_dir
    assert Path(given["host"]["kubeletDir"]) / "plugins_registry" == default.kubelet_registry_dir
    assert (Path(given["cdi"]["staticPath"]), Path(given["cdi"]["dynamicPath"])) == (
        default.cdi_root,
        default.cdi_dynamic_root,
    )
    assert given["kubeletPlugin"]["healthcheckPort"] == default.healthcheck_port


# --------------------------------------------------------------------------- the image


def test_the_image_has_everything_but_what_no_code_of_ours_imports() -> None:
    """What the Containerfile removes of packages that it installs is not loaded by a driver that serves."""
    text = (ROOT / "deployments/gpu-driver/Containerfile").read_text()
    removed = re.findall(r"rm -rf (kubernetes/aio) (kubernetes/client/api) (dra_common/testing)", text)
    assert removed == [("kubernetes/aio", "kubernetes/client/api", "dra_common/testing")]
    code = "import sys, dra_common.app, dra_common.cleanup, gpu_driver.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = {path.replace("/", ".") for path in removed[0]}
    assert [name for name in loaded.split() if name in names] == []
