"""Are the manifests and the unit of examples/postgres valid, and do they agree with each other and with the gateway?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml

from pushgateway import __version__
from tests.e2e.test_example_kubernetes import configured_by
from tests.harness import require_program
from tests.project.pages import ROOT

EXAMPLE = ROOT / "examples" / "postgres"
UNIT = EXAMPLE / "pushgateway@.service"

MANIFESTS: Final[dict[str, dict[str, Any]]] = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((EXAMPLE / "kubernetes").glob("*.yaml"))
}
OWN_KINDS: Final = ("kustomization", "scrapeconfig")

SCRAPE_CONFIG: Final = {
    # What we use of ScrapeConfig in monitoring.coreos.com/v1alpha1, as the operator's API reference describes it.
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1alpha1"},
        "kind": {"const": "ScrapeConfig"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "staticConfigs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "targets": {"type": "array", "items": {"type": "string"}},
                            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                    },
                },
                "metricsPath": {"type": "string", "pattern": "^/"},
                "scrapeInterval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                "honorLabels": {"type": "boolean"},
            },
        },
    },
}


def spec(name: str) -> dict[str, Any]:
    """The spec of a manifest."""
    found: dict[str, Any] = MANIFESTS[name]["spec"]
    return found


POD: Final[dict[str, Any]] = spec("deployment")["template"]
[CONTAINER] = POD["spec"]["containers"]


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", sorted(MANIFESTS.keys() - set(OWN_KINDS)))
def test_manifests_are_valid(name: str, version: str) -> None:
    """Each manifest is what the API of old and new clusters takes, without a field that they do not know."""
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_the_kustomization_names_every_manifest() -> None:
    """Kubectl apply -k applies all manifests of the directory."""
    assert sorted(MANIFESTS["kustomization"]["resources"]) == sorted(
        f"{name}.yaml" for name in MANIFESTS if name != "kustomization"
    )


def test_the_service_is_scraped_once() -> None:
    """The only target is the Service, in the namespace where all is applied; labels are honoured."""
    jsonschema.validate(MANIFESTS["scrapeconfig"], SCRAPE_CONFIG)
    [targets] = [config["targets"] for config in spec("scrapeconfig")["staticConfigs"]]
    [port] = spec("service")["ports"]
    name, namespace = MANIFESTS["service"]["metadata"]["name"], MANIFESTS["kustomization"]["namespace"]
    assert targets == [f"{name}.{namespace}.svc:{port['port']}"]
    assert spec("scrapeconfig")["honorLabels"]
    assert not any(manifest["kind"].endswith("Monitor") for manifest in MANIFESTS.values())


def test_everything_selects_the_pods() -> None:
    """Deployment, Service, policy, budget and both spreads select the pods, and the ports lead to the gateway."""
    labels = POD["metadata"]["labels"]
    selectors = [spec(name)["selector"]["matchLabels"] for name in ("deployment", "poddisruptionbudget")]
    selectors += [spec("service")["selector"], spec("networkpolicy")["podSelector"]["matchLabels"]]
    selectors += [one["labelSelector"]["matchLabels"] for one in POD["spec"]["topologySpreadConstraints"]]
    assert all(selector.items() <= labels.items() for selector in selectors)
    [port] = CONTAINER["ports"]
    assert spec("service")["ports"][0]["targetPort"] == port["name"]
    assert configured_by(CONTAINER["args"]).listen_addresses == (f":{port['containerPort']}",)


def test_one_pod_serves_whatever_is_done() -> None:
    """Two pods on two nodes; neither a rollout nor a drain takes both; a pod ends once the Service has let it go."""
    assert spec("deployment")["replicas"] == 2
    assert spec("deployment")["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec("poddisruptionbudget")["maxUnavailable"] == 1
    spread = {one["topologyKey"]: one["whenUnsatisfiable"] for one in POD["spec"]["topologySpreadConstraints"]}
    assert spread["kubernetes.io/hostname"] == "DoNotSchedule"
    seconds = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["spec"]["terminationGracePeriodSeconds"] > seconds + 30


def test_the_password_is_a_file() -> None:
    """The password comes from the Secret as a file, which is where the flags look for it; no argument has one."""
    config = configured_by(CONTAINER["args"])
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in CONTAINER["volumeMounts"]}
    file = Path(config.storage_password_file)
    assert mounts[str(file.parent)]["secret"]["secretName"] == MANIFESTS["secret"]["metadata"]["name"]
    [certificates] = re.findall(r"sslmode=verify-full&sslrootcert=([^&]+)$", config.storage_url)
    assert {file.name, Path(certificates).name} == MANIFESTS["secret"]["stringData"].keys()
    assert Path(certificates).parent == file.parent
    assert config.storage_url.startswith("postgresql://pushgateway@"), "with a user and no password"


def test_the_pod_meets_the_restricted_standard() -> None:
    """The pod is as safe as that of examples/kubernetes, and of the same image, which has psycopg."""
    other = yaml.safe_load((ROOT / "examples/kubernetes/deployment.yaml").read_text())["spec"]["template"]["spec"]
    assert CONTAINER["securityContext"] == other["containers"][0]["securityContext"]
    assert POD["spec"]["securityContext"].items() <= other["securityContext"].items()
    assert POD["spec"]["securityContext"]["runAsNonRoot"]
    assert CONTAINER["image"] == f"pushgateway:{__version__}"
    assert ".[gateway,postgres]" in (ROOT / "examples/docker/Dockerfile").read_text()


def test_the_unit(tmp_path: Path) -> None:
    """Systemd has nothing to say about the unit and calls it safe; its flags are the gateway's, its password a file."""
    analyze = require_program("systemd-analyze")
    text = UNIT.read_text()
    unit = tmp_path / "pushgateway@9091.service"
    unit.write_text(text.replace("/opt/pushgateway/bin/pushgateway", str(Path(sys.executable).parent / "pushgateway")))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "pushgateway" in line]) == (0, [])
    command = [analyze, "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert float(exposure[1]) < 2.0, done.stdout
    [flags] = re.findall(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)
    flags = flags.replace("%i", "9091").replace("%H", "host").replace("%d", "/run/credentials")
    [url] = re.findall(r"^# .*PUSHGATEWAY_STORAGE_URL=(\S+)$", text, re.MULTILINE)
    config = configured_by([*flags.split(), f"--storage.url={url}"])
    assert (config.listen_addresses, config.replica) == ((":9091",), "host:9091")
    assert Path(config.storage_password_file).name in re.findall(r"^LoadCredential=(\w+):", text, re.MULTILINE)
