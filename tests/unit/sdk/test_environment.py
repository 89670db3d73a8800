"""What do variables, Kubernetes and CI systems tell a run, and which of them wins?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pymetrics_sdk.environment import identify, read_settings
from pymetrics_sdk.spec import JobSpec
from pymetrics_sdk.target import resolve

NOW = 1_700_000_000.0
MINUTES = 28_333_333  # NOW in minutes
NOWHERE = Path("/nonexistent")


def test_settings_are_read_from_the_environment() -> None:
    """Each variable lands where it belongs, and userinfo in the URL becomes credentials."""
    settings = read_settings(
        {
            "PYMETRICS_GATEWAY_URL": "https://user:p%40ss@gw.example:9091/prefix/",
            "PYMETRICS_TOKEN_FILE": "/token",
            "PYMETRICS_TIMEOUT": "3s",
            "PYMETRICS_STRICT": "1",
            "PYMETRICS_LABELS": "shard=3, region=eu",
        }
    )
    assert settings.gateway_url == "https://gw.example:9091/prefix"
    assert (settings.username, settings.password) == ("user", "p@ss")
    assert (settings.token_file, settings.timeout_seconds, settings.strict) == ("/token", 3.0, True)
    assert settings.labels == {"shard": "3", "region": "eu"}
    assert settings.problems == ()
    assert "p@ss" not in repr(settings)


def test_what_cannot_be_used_is_a_problem_and_not_an_error() -> None:
    """A variable that cannot be read keeps its default and is named; its value is not shown where it may be secret."""
    settings = read_settings(
        {"PYMETRICS_GATEWAY_URL": "http://u:hunter2@", "PYMETRICS_TIMEOUT": "soon", "PYMETRICS_LABELS": "x"}
    )
    assert (settings.gateway_url, settings.timeout_seconds, settings.labels) == ("", 5.0, {})
    assert [problem.split(":")[0] for problem in settings.problems] == [
        "PYMETRICS_GATEWAY_URL",
        "PYMETRICS_TIMEOUT",
        "PYMETRICS_LABELS",
    ]
    assert "hunter2" not in str(settings.problems)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("gw:9091", "http://gw:9091"),
        ("http://[::1]:9091/", "http://[::1]:9091"),
        ("https://gw/a/b/?x=1#y", "https://gw/a/b"),
    ],
)
def test_gateway_urls_are_normalised(url: str, clean: str) -> None:
    """A missing scheme is http; slashes, queries and fragments at the end go."""
    assert read_settings({"PYMETRICS_GATEWAY_URL": url}).gateway_url == clean


def test_a_service_links_variable_is_never_read_as_a_port() -> None:
    """Kubernetes sets PUSHGATEWAY_PORT=tcp://... for a service of that name; nothing of ours reads it."""
    environ = {"PUSHGATEWAY_PORT": "tcp://10.0.0.1:9091", "PYMETRICS_PORT": "tcp://10.0.0.1:9091"}
    assert read_settings(environ) == read_settings({})


def kubernetes(**variables: str) -> dict[str, str]:
    """The environment of a pod."""
    return {"KUBERNETES_SERVICE_HOST": "10.0.0.1", **variables}


def test_a_cronjobs_pod_tells_job_and_planned_minute() -> None:
    """NAME-<minutes>-xxxxx names the CronJob, the Job and the minute for which it was planned."""
    environ = kubernetes(HOSTNAME=f"nightly-billing-{MINUTES}-x7k2p")
    identity = identify(now=NOW, environ=environ, namespace_file=NOWHERE)
    assert (identity.job, identity.cronjob) == ("nightly-billing", "nightly-billing")
    assert identity.job_name == f"nightly-billing-{MINUTES}"
    assert identity.scheduled_at_seconds == MINUTES * 60


@pytest.mark.parametrize("minutes", [MINUTES - 7 * 1440 - 1, MINUTES + 7 * 1440 + 2])
def test_a_number_that_is_no_recent_minute_is_part_of_the_name(minutes: int) -> None:
    """A minute more than seven days away is a coincidence: the Job's name then is what it is."""
    identity = identify(now=NOW, environ=kubernetes(POD_NAME=f"report-{minutes}-x7k2p"), namespace_file=NOWHERE)
    assert (identity.cronjob, identity.scheduled_at_seconds) == ("", None)
    assert identity.job == f"report-{minutes}"


def test_the_names_of_a_plain_job_and_of_an_indexed_one() -> None:
    """The generated suffix, with the index of an indexed Job, is not part of the name."""
    assert (
        identify(now=NOW, environ=kubernetes(POD_NAME="etl-import-x7k2p"), namespace_file=NOWHERE).job == "etl-import"
    )
    indexed = kubernetes(POD_NAME="etl-import-3-x7k2p", JOB_COMPLETION_INDEX="3")
    identity = identify(now=NOW, environ=indexed, namespace_file=NOWHERE)
    assert (identity.job, identity.shard) == ("etl-import", "3")


def test_outside_kubernetes_the_host_name_means_nothing() -> None:
    """A host called web-1700000000-abcde makes no CronJob; the script names the job."""
    identity = identify(
        now=NOW, environ={"HOSTNAME": "web-28333333-abcde"}, namespace_file=NOWHERE, script="/opt/nightly_etl.py"
    )
    assert (identity.job, identity.pod, identity.namespace) == ("nightly_etl", "", "")


def test_the_order_of_names() -> None:
    """An argument wins over PYMETRICS_JOB, that over OpenTelemetry's name, that over Kubernetes'."""
    environ = kubernetes(
        PYMETRICS_JOB="ours",
        OTEL_SERVICE_NAME="otel",
        OTEL_RESOURCE_ATTRIBUTES="service.name=resource,service.version=1.2",
        POD_NAME="pod-x7k2p",
    )
    names = [identify(now=NOW, job="argument", environ=environ, namespace_file=NOWHERE).job]
    for gone in ("PYMETRICS_JOB", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "POD_NAME"):
        names.append(identify(now=NOW, environ=environ, namespace_file=NOWHERE).job)
        del environ[gone]
    assert names == ["argument", "ours", "otel", "resource", "pod"]


def test_the_order_of_namespaces(tmp_path: Path) -> None:
    """OpenTelemetry's attribute wins over POD_NAMESPACE, that over the service account's file."""
    file = tmp_path / "namespace"
    file.write_text("from-file\n")
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=from-otel", "POD_NAMESPACE": "from-pod"}
    found = []
    for gone in ("OTEL_RESOURCE_ATTRIBUTES", "POD_NAMESPACE", ""):
        found.append(identify(now=NOW, environ=environ, namespace_file=file).namespace)
        environ.pop(gone, None)
    assert found == ["from-otel", "from-pod", "from-file"]


def test_attempts_and_commits_come_from_ci_and_airflow() -> None:
    """The try number and the commit are where these systems put them."""
    assert identify(now=NOW, environ={"AIRFLOW_CTX_TRY_NUMBER": "2"}, namespace_file=NOWHERE).attempt == 2
    assert identify(now=NOW, environ={"GITHUB_RUN_ATTEMPT": "x"}, namespace_file=NOWHERE).attempt == 1
    assert identify(now=NOW, environ={"GITHUB_SHA": "abc"}, namespace_file=NOWHERE).commit == "abc"


def test_the_grouping_key_never_holds_pod_host_or_run() -> None:
    """The key is job, namespace, shard and what was asked for: the same in every run."""
    environ = kubernetes(
        POD_NAME=f"etl-{MINUTES}-x7k2p",
        POD_NAMESPACE="shop",
        NODE_NAME="node-1",
        JOB_COMPLETION_INDEX="3",
        PYMETRICS_LABELS="region=eu",
    )
    target = resolve(JobSpec.of(labels={"tier": "gold"}), now=NOW, environ=environ)
    assert target.key.job == "etl"
    assert dict(target.key.labels) == {"namespace": "shop", "shard": "3", "region": "eu", "tier": "gold"}
