"""What of the charts can be held true without helm and without a cluster; e2e/tests/test_chart.py does the rest."""

import json
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import gaudi_driver.__main__
import gpu_driver.__main__
import jsonschema
import pytest
import yaml
from dra_common.cli import create
from dra_common.definition import Definition
from dra_common.settings import Settings
from dra_common.slices import parse_features
from typer.main import get_command

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "deployments/library/chart"
CHARTS = sorted(set(ROOT.glob("deployments/*/chart")) - {LIBRARY})
GPU = ROOT / "deployments/gpu-driver/chart"
GAUDI = ROOT / "deployments/gaudi-driver/chart"
DEFINITIONS = {GPU: gpu_driver.__main__.DEFINITION, GAUDI: gaudi_driver.__main__.DEFINITION}
sys.path.insert(0, str(ROOT / "tools"))

import admission  # noqa: E402 - scripts beside the others in tools/
import docs_chart  # noqa: E402


def schema(chart: Path = GPU) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    return found


def values(chart: Path = GPU) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return found


def templates(*charts: Path) -> str:
    return "\n".join(path.read_text() for chart in charts for path in sorted((chart / "templates").iterdir()))


def whole(chart: Path) -> str:
    """The templates of a chart, with those that it has of the library."""
    return templates(chart, LIBRARY)


def named(template: str, text: str) -> str:
    """One named template."""
    found = text.partition(f'define "{template}"')[2]
    assert found, template
    return found.partition("{{- define")[0]


def of_charts(function: Any) -> Any:
    return pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.parent.name)(function)


def of_drivers(function: Any) -> Any:
    return pytest.mark.parametrize(
        ("chart", "definition"),
        DEFINITIONS.items(),
        ids=lambda each: each.parent.name if isinstance(each, Path) else "",
    )(function)


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
LIBRARY_NAME = "dra-driver-library"


# --------------------------------------------------------------------------- values


@of_charts
def test_defaults_are_allowed(chart: Path) -> None:
    jsonschema.Draft7Validator.check_schema(schema(chart))
    jsonschema.validate(values(chart), schema(chart), jsonschema.Draft7Validator)


@pytest.mark.defect(19)
@of_charts
def test_every_value_is_described_has_a_type_and_is_used(chart: Path) -> None:
    described = {value.name for value in docs_chart.values(chart)}
    assert described == leaves(schema(chart)) - {"global", LIBRARY_NAME}
    assert [name for name in described if f".Values.{name}" not in whole(chart)] == []


@of_charts
def test_no_template_uses_a_value_that_is_not_there(chart: Path) -> None:
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", whole(chart)))
    assert used <= {value.name for value in docs_chart.values(chart)}


def test_what_charts_have_in_common_is_in_the_library_and_called_alike() -> None:
    """No two have a template of more than an include, and a value of one name is one thing."""
    texts = Counter(path.read_text() for chart in CHARTS for path in sorted((chart / "templates").iterdir()))
    assert [text for text, charts in texts.items() if charts > 1 and len(text.splitlines()) > 1] == []
    for one, other in combinations(CHARTS, 2):
        found = [{value.name: value.schema for value in docs_chart.values(chart)} for chart in (one, other)]
        common = found[0].keys() & found[1].keys()
        assert len(common) > 30
        differ = {name for name in common if found[0][name] != found[1][name]}
        assert differ <= {"config", "health.sources", "migrationClasses"}


@of_charts
def test_the_library_is_part_of_a_chart_by_a_link(chart: Path) -> None:
    """So that it can be installed from a checkout as it is; Chart.yaml is what `helm lint` wants."""
    assert (chart / "charts" / LIBRARY_NAME).is_symlink()
    assert (chart / "charts" / LIBRARY_NAME).resolve() == LIBRARY
    library = yaml.safe_load((LIBRARY / "Chart.yaml").read_text())
    (wanted,) = yaml.safe_load((chart / "Chart.yaml").read_text())["dependencies"]
    assert library["type"] == "library"
    assert (wanted["name"], wanted["version"]) == (LIBRARY_NAME, library["version"])
    assert (chart / wanted["repository"].removeprefix("file://")).resolve() == LIBRARY


@of_charts
def test_a_chart_says_all_that_the_library_asks_of_it(chart: Path) -> None:
    driver = yaml.safe_load((chart / "Chart.yaml").read_text())["annotations"]["driver"]
    asked = set(re.findall(r'"driver.own" \(list \. "(\w+)"\)', templates(LIBRARY)))
    assert len(asked) > 8
    own = set(re.findall(rf'define "{re.escape(driver)}\.(\w+)"', templates(chart)))
    assert asked <= own
    used = set(re.findall(rf'include "{re.escape(driver)}\.(\w+)"', templates(chart)))
    assert own == asked | used


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
@of_charts
def test_cluster_scoped_objects_of_two_releases_do_not_meet(chart: Path) -> None:
    """Their names have the namespace; only DeviceClasses have names that users know."""
    kinds = re.compile(r"^kind: (Cluster\w+|ValidatingAdmission\w+)\nmetadata:\n  name: (.*)$", re.MULTILINE)
    found = dict(kinds.findall(whole(chart)))
    assert found.keys() >= {"ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy"}
    wanted = '{{ include "driver.clusterName" . }}'
    assert [name for name in found.values() if not name.startswith(wanted)] == []
    assert '"%s-%s" .Release.Namespace' in whole(chart)


@pytest.mark.defect(19)
@of_charts
def test_pods_go_to_nodes_by_labels_that_every_node_has(chart: Path) -> None:
    """Not by labels that somebody else has to set; what an operator adds is in values."""
    found = re.findall(r"nodeSelector:\n((?:  [a-z].*\n)+)", whole(chart))
    assert found
    assert set(found) == {"  kubernetes.io/os: linux\n"}
    assert values(chart)["kubeletPlugin"]["nodeSelector"] == {}


# --------------------------------------------------------------------------- what the driver is told


def options(definition: Definition, command: str) -> dict[str, str]:
    """Variable -> option of one command of the driver."""
    found = get_command(create(definition)).commands[command].params  # type: ignore[attr-defined]
    pairs = ((option.envvar, option.opts[0]) for option in found if getattr(option, "envvar", None))
    return {name[0] if isinstance(name, list) else name: option for name, option in pairs}


def variables(text: str) -> set[str]:
    return set(re.findall(r"- name: ([A-Z][A-Z_]*)\n\s+value", text))


@pytest.mark.defect(19)
@of_drivers
def test_variables_of_the_pods_are_options_of_the_commands_that_they_run(
    chart: Path, definition: Definition
) -> None:
    places = variables(named("driver.places", templates(LIBRARY)))
    run = variables(whole(chart))
    assert places
    assert run <= options(definition, "run").keys()
    assert places <= options(definition, "cleanup").keys()
    assert "POD_UID" in run


@of_drivers
def test_the_config_map_is_a_file_of_the_driver(chart: Path, definition: Definition) -> None:
    kind = definition.driver.policy_kind
    assert kind is not None
    assert kind.api_version == f"config.{definition.driver.name}/v1alpha1"
    assert (
        yaml.safe_load((chart / "Chart.yaml").read_text())["annotations"]["driver"] == definition.driver.name
    )
    assert named(f"{definition.driver.name}.configKind", templates(chart)).split("\n")[1] == kind.kind
    mounted = whole(chart)
    [path] = re.findall(r"name: CONFIG\s+value: (\S.*)", mounted)
    assert f"mountPath: {Path(path).parent}\n" in mounted
    assert f"{Path(path).name}: |" in mounted


@of_drivers
def test_the_policy_of_claims_is_made_from_the_kinds_that_the_driver_reads(
    chart: Path, definition: Definition
) -> None:
    """And so is stale when a kind changes and nobody generates it."""
    made = admission.template(definition.driver.name, definition.driver.config_kinds)
    assert (chart / "templates/claims.yaml").read_text() == made


@of_drivers
def test_the_simulated_machine_is_one_that_the_driver_has(chart: Path, definition: Definition) -> None:
    assert values(chart)["simulatedDevices"]["profile"] in definition.simulation().profiles
    asked = set(re.findall(r"- (--[a-z-]+)", named("driver.simulated", templates(LIBRARY))))
    known = get_command(create(definition)).commands["simulate"].params  # type: ignore[attr-defined]
    assert asked == {"--profile", "--root", "--device-nodes"}
    assert asked <= {name for option in known for name in option.opts}


def test_server_features_are_those_that_the_driver_knows() -> None:
    names = schema()["properties"]["serverFeaturesOff"]["items"]["enum"]
    assert list(parse_features(",".join(names), "serverFeaturesOff")) == names


@of_charts
def test_the_default_places_are_the_drivers(chart: Path) -> None:
    default, given = Settings(node_name=""), values(chart)
    assert Path(given["host"]["kubeletDir"]) / "plugins" == default.kubelet_plugins_dir
    assert Path(given["host"]["kubeletDir"]) / "plugins_registry" == default.kubelet_registry_dir
    assert (Path(given["cdi"]["staticPath"]), Path(given["cdi"]["dynamicPath"])) == (
        default.cdi_root,
        default.cdi_dynamic_root,
    )
    assert given["kubeletPlugin"]["healthcheckPort"] == default.healthcheck_port


# --------------------------------------------------------------------------- the image


@of_drivers
def test_the_image_has_everything_but_what_no_code_of_ours_imports(
    chart: Path, definition: Definition
) -> None:
    """What the Containerfile removes of packages that it installs is not loaded by a driver that serves."""
    text = (ROOT / "deployments/Containerfile").read_text()
    (removed,) = re.findall(r"rm -rf ((?:[a-z*_]+/[a-z_/.]+ )+)", text)
    assert "kubernetes/client/api" in removed
    package = definition.program.replace("-", "_")
    names = set(removed.replace("*_driver", package).replace(".py", "").replace("/", ".").split())
    code = f"import sys, dra_common.app, dra_common.cleanup, {package}.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"{package}.driver" in loaded.split()
    assert [name for name in loaded.split() if name in names] == []
