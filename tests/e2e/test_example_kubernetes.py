"""Are the manifests of examples/kubernetes valid, do they agree with each other, and with what a gateway does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml

from pushgateway import __version__, cli
from pushgateway.config import Config
from tests.harness import Gateway
from tests.project.pages import ROOT

EXAMPLE = ROOT / "examples" / "kubernetes"

MANIFESTS: Final[dict[str, dict[str, Any]]] = {
    path.name: yaml.safe_load(path.read_text()) for path in sorted(EXAMPLE.glob("*.yaml"))
}

CORE: Final = ("deployment", "networkpolicy", "persistentvolumeclaim", "service", "serviceaccount")

SERVICE_MONITOR: Final = {
    # What we use of ServiceMonitor in monitoring.coreos.com/v1, as the operator's API reference describes it.
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "ServiceMonitor"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "endpoints"],
            "properties": {
                "selector": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}},
                },
                "endpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string", "pattern": "^/"},
                            "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                            "honorLabels": {"type": "boolean"},
                        },
                    },
                },
            },
        },
    },
}


def spec(name: str) -> dict[str, Any]:
    """The spec of a manifest."""
    found: dict[str, Any] = MANIFESTS[f"{name}.yaml"]["spec"]
    return found


def pod() -> dict[str, Any]:
    """The pod that the deployment makes."""
    found: dict[str, Any] = spec("deployment")["template"]
    return found


def container() -> dict[str, Any]:
    """Its only container."""
    [found] = pod()["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("version", ["1.29", "1.33", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", CORE)
def test_manifests_are_valid(name: str, version: str) -> None:
    """Each manifest is what the API of old and new clusters takes, without a field that they do not know."""
    kubernetes_validate.validate(MANIFESTS[f"{name}.yaml"], version, strict=True)


def test_a_field_that_is_not_known_is_seen() -> None:
    """The validation is strict: a misspelt field does not pass."""
    misspelt = {**MANIFESTS["serviceaccount.yaml"], "automountServiceAccountTokens": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, kubernetes_validate.latest_version(), strict=True)


def test_the_service_monitor_is_valid() -> None:
    """The manifest for the Prometheus Operator has the fields that its resource has."""
    jsonschema.validate(MANIFESTS["servicemonitor.yaml"], SERVICE_MONITOR)


def test_the_kustomization_names_every_manifest() -> None:
    """Kubectl apply -k applies all manifests of the directory, and they are all that is there."""
    kustomization = MANIFESTS["kustomization.yaml"]
    assert kustomization["kind"] == "Kustomization"
    assert sorted([*kustomization["resources"], "kustomization.yaml"]) == sorted(MANIFESTS)
    assert {f"{name}.yaml" for name in (*CORE, "servicemonitor", "kustomization")} == set(MANIFESTS)
    assert {manifest["metadata"]["name"] for name, manifest in MANIFESTS.items() if name[0] != "k"} == {"pushgateway"}


def test_selectors_select_the_pod() -> None:
    """Deployment, Service and NetworkPolicy select the pod, the ServiceMonitor the Service."""
    labels = pod()["metadata"]["labels"].items()
    assert spec("deployment")["selector"]["matchLabels"].items() <= labels
    assert spec("service")["selector"].items() <= labels
    assert spec("networkpolicy")["podSelector"]["matchLabels"].items() <= labels
    service = MANIFESTS["service.yaml"]["metadata"]["labels"].items()
    assert spec("servicemonitor")["selector"]["matchLabels"].items() <= service


def test_ports_lead_to_the_gateway() -> None:
    """Scrapes, pushes and probes reach the port on which the gateway listens; the policy lets them and nothing else."""
    [port] = container()["ports"]
    [served] = spec("service")["ports"]
    [endpoint] = spec("servicemonitor")["endpoints"]
    assert (served["targetPort"], endpoint["port"]) == (port["name"], served["name"])
    assert served["port"] == port["containerPort"]
    assert configured().listen_addresses == (f":{port['containerPort']}",)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container()[probe]["httpGet"]["port"] == port["name"]
    policy = spec("networkpolicy")
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["egress"] == []
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": port["name"]}]] * 2
    assert all(rule["from"] for rule in policy["ingress"]), "a rule without `from` lets everybody in"


def configured() -> Config:
    """What the gateway makes of the container's arguments."""
    return configured_by(container()["args"])


def configured_by(arguments: list[str]) -> Config:
    """What the gateway makes of arguments."""
    seen: list[Config] = []

    def note(config: Config) -> int:
        seen.append(config)
        return 0

    cli.command(note).main(arguments, prog_name="pushgateway", standalone_mode=False)
    [config] = seen
    return config


def test_the_database_is_on_the_volume() -> None:
    """The database is on the claimed volume, of which one gateway at a time has hold; the counters are in memory."""
    volumes = {volume["name"]: volume for volume in pod()["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container()["volumeMounts"]}
    directory = str(Path(configured().storage_url.removeprefix("sqlite:")).parent)
    claim = mounts[directory]["persistentVolumeClaim"]["claimName"]
    assert claim == MANIFESTS["persistentvolumeclaim.yaml"]["metadata"]["name"]
    assert spec("persistentvolumeclaim")["accessModes"] == ["ReadWriteOnce"]
    assert (spec("deployment")["replicas"], spec("deployment")["strategy"]) == (1, {"type": "Recreate"})
    assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
    assert set(mounts) == {directory, "/dev/shm"}


def test_the_pod_meets_the_restricted_standard() -> None:
    """Pod Security "restricted": no root, no privileges, no capabilities, the filter of the runtime; and read-only."""
    security = pod()["spec"]["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"] > 0) == (True, True)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for volume in pod()["spec"]["volumes"] for kind in volume} == {
        "name",
        "persistentVolumeClaim",
        "emptyDir",
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod()["spec"].keys()


def test_the_pod_has_no_token() -> None:
    """Neither the account nor the pod has a token of the cluster's API mounted."""
    account = MANIFESTS["serviceaccount.yaml"]
    assert pod()["spec"]["serviceAccountName"] == account["metadata"]["name"]
    assert (account["automountServiceAccountToken"], pod()["spec"]["automountServiceAccountToken"]) == (False, False)


def test_the_image_is_that_of_this_version() -> None:
    """The image's tag is this version, and its user the one that the Dockerfile makes."""
    assert container()["image"] == f"pushgateway:{__version__}"
    user = pod()["spec"]["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}\n" in (ROOT / "examples/docker/Dockerfile").read_text()


def test_there_is_time_and_room() -> None:
    """A pod fits on a machine of 512 MB with its shared memory, and a graceful stop has the 30 s that it may take."""
    limit = container()["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert int(limit.removesuffix("Mi")) < 450
    assert pod()["spec"]["terminationGracePeriodSeconds"] > 30


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_are_answered(gateway: Gateway, probe: str) -> None:
    """The path of each probe is answered 200 by a gateway that serves."""
    assert gateway.get(container()[probe]["httpGet"]["path"]).status == 200


def test_what_the_service_monitor_scrapes(gateway: Gateway) -> None:
    """Its path is the exposition, and the labels of what was pushed are honoured."""
    [endpoint] = spec("servicemonitor")["endpoints"]
    assert endpoint["honorLabels"]
    gateway.push("job/a", b"x 1\n")
    assert b'x{instance="",job="a"} 1' in gateway.get(endpoint["path"]).body
