"""What do variables, Kubernetes and CI systems tell a run, and which of them wins?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest

from pymetrics_sdk import Job, environment
from pymetrics_sdk.environment import identify, read_settings
from pymetrics_sdk.spec import JobSpec
from pymetrics_sdk.target import resolve
from pymetrics_sdk.testing import in_memory_gateway

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
    """A minute more than seven days away is a coincidence: nothing in the pod's name then is the job's."""
    environ = kubernetes(POD_NAME=f"report-{minutes}-x7k2p")
    identity = identify(now=NOW, environ=environ, namespace_file=NOWHERE, script="/app/report.py")
    assert (identity.cronjob, identity.scheduled_at_seconds) == ("", None)
    assert (identity.job, identity.job_name) == ("report", f"report-{minutes}")


@pytest.mark.parametrize(
    "pod", ["web-7d4b9c6f5d-x2x5z", "ip-10-0-0-1", "etl-manual-x7k-abcde", "etl-0", "etl-import-x7k2p"]
)
@pytest.mark.parametrize("variable", ["HOSTNAME", "POD_NAME"])
def test_generated_names_never_become_the_jobs(pod: str, variable: str) -> None:
    """Names of pods, hosts and Jobs change with every run, and would leave a group behind each; the script's do not."""
    identity = identify(
        now=NOW, environ=kubernetes(**{variable: pod}), namespace_file=NOWHERE, script="/app/nightly_etl.py"
    )
    assert (identity.job, identity.pod) == ("nightly_etl", pod)


def test_the_job_in_kubernetes_is_in_the_info() -> None:
    """The Job's name is the pod's without the generated suffix and the index of an indexed Job."""
    indexed = kubernetes(POD_NAME="etl-import-3-x7k2p", JOB_COMPLETION_INDEX="3")
    identity = identify(now=NOW, environ=indexed, namespace_file=NOWHERE, script="etl.py")
    assert (identity.job, identity.job_name, identity.shard) == ("etl", "etl-import", "3")


def test_outside_kubernetes_the_host_name_means_nothing() -> None:
    """A host called web-1700000000-abcde makes no CronJob; the script names the job."""
    identity = identify(
        now=NOW, environ={"HOSTNAME": "web-28333333-abcde"}, namespace_file=NOWHERE, script="/opt/nightly_etl.py"
    )
    assert (identity.job, identity.pod, identity.namespace) == ("nightly_etl", "", "")


def test_the_order_of_names() -> None:
    """An argument wins over PYMETRICS_JOB, that over OpenTelemetry's name, that over the CronJob's."""
    environ = kubernetes(
        PYMETRICS_JOB="ours",
        OTEL_SERVICE_NAME="otel",
        OTEL_RESOURCE_ATTRIBUTES="service.name=resource,service.version=1.2",
        POD_NAME=f"cron-{MINUTES}-x7k2p",
    )
    names = [identify(now=NOW, job="argument", environ=environ, namespace_file=NOWHERE).job]
    for gone in ("PYMETRICS_JOB", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "POD_NAME"):
        names.append(identify(now=NOW, environ=environ, namespace_file=NOWHERE).job)
        del environ[gone]
    assert names == ["argument", "ours", "otel", "resource", "cron"]


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


@pytest.mark.parametrize("value", ["\u00b2", "\u0663", "0", "-1", "1e3", "9" * 5000])
def test_attempts_that_are_no_numbers_are_the_first(value: str) -> None:
    """Whatever another system puts into its variable, a run starts."""
    assert identify(now=NOW, environ={"AIRFLOW_CTX_TRY_NUMBER": value}, namespace_file=NOWHERE).attempt == 1


def test_user_name_and_password_come_from_one_place() -> None:
    """The user of the variables never goes with the password of the URL, and a password alone is named as useless."""
    url = "http://alice:wonder@gw:9091"
    both = read_settings({"PYMETRICS_GATEWAY_URL": url, "PYMETRICS_USERNAME": "bob"})
    assert (both.username, both.password) == ("bob", "")
    alone = read_settings({"PYMETRICS_GATEWAY_URL": url, "PYMETRICS_PASSWORD": "secret"})
    assert (alone.username, alone.password) == ("alice", "wonder")
    assert [problem.split(":")[0] for problem in alone.problems] == ["PYMETRICS_PASSWORD"]


def test_secrets_are_taken_as_they_are() -> None:
    """A password may begin and end with spaces."""
    settings = read_settings({"PYMETRICS_USERNAME": "bob", "PYMETRICS_PASSWORD": " pass "})
    assert settings.password == " pass "


def test_another_gateway_does_not_learn_the_environments_credentials() -> None:
    """A gateway that the code names gets the environment's token only if the environment means that gateway or none."""
    secrets = {"PYMETRICS_TOKEN": "t", "PYMETRICS_USERNAME": "u", "PYMETRICS_PASSWORD": "p"}
    settings = read_settings({"PYMETRICS_GATEWAY_URL": "http://gw:9091", **secrets})
    other = settings.with_gateway("http://other:9091")
    assert (other.token, other.username, other.password) == ("", "", "")
    assert settings.with_gateway("gw:9091/").token == "t"
    assert read_settings(secrets).with_gateway("http://other:9091").token == "t"
    named = settings.with_gateway("http://a:b@gw:9091")
    assert (named.token, named.username, named.password) == ("", "a", "b")


def test_the_in_memory_gateway_finds_the_same_key_on_every_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What CI systems and Kubernetes set does not reach a test's grouping key, and is back afterwards."""
    file = tmp_path / "namespace"
    file.write_text("ci")
    monkeypatch.setattr(environment, "service_account_namespace", file)
    for name in environment.FOREIGN_VARIABLES:
        monkeypatch.setenv(name, "7")
    with in_memory_gateway() as gateway:
        with Job("same"):
            pass
        assert gateway.group(job="same")["batch_job_attempt"] == 1
    assert {os.environ[name] for name in environment.FOREIGN_VARIABLES} == {"7"}
    assert environment.service_account_namespace == file


def test_every_foreign_variable_is_known() -> None:
    """`identify` asks its environment for no variable that the tuple lacks."""

    class Asked(dict[str, str]):
        names: ClassVar[set[str]] = set()

        def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
            self.names.add(name)
            return default

        def __contains__(self, name: object) -> bool:
            self.names.add(str(name))
            return False

    identify(now=NOW, environ=Asked(), namespace_file=NOWHERE)
    assert {name for name in Asked.names if not name.startswith("PYMETRICS_")} <= set(environment.FOREIGN_VARIABLES)


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
