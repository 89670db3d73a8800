"""What does the environment say about the gateway, the job and the machine it runs on?

Nothing is read at import. A run reads the environment when it starts: an argument wins over ``PYMETRICS_*``, that over
OpenTelemetry's variables, those over what Kubernetes and CI systems set.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pymetrics_sdk.durations import seconds
from pymetrics_sdk.errors import ConfigError

__all__ = ["VARIABLES", "Identity", "Settings", "Variable", "identify", "read_settings", "split_gateway_url"]

T = TypeVar("T")

DEFAULT_TIMEOUT_SECONDS = 5.0
"""The total deadline of a final push, all retries included: what a job may cost at most when its gateway is gone."""

service_account_namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where Kubernetes mounts the namespace of the pod's service account; tests point it elsewhere."""
_JOB_OF_CRONJOB = re.compile(r"(?P<cronjob>.+)-(?P<minutes>\d{8,10})")
_POD_SUFFIX = re.compile(r"-[a-z0-9]{5}$")
_WEEK_SECONDS = 7 * 86400.0
MAX_ATTEMPT_DIGITS = 6


# By what each of them says; the first that is set wins.
_SHARD_VARIABLES = (
    "JOB_COMPLETION_INDEX",
    "AWS_BATCH_JOB_ARRAY_INDEX",
    "CLOUD_RUN_TASK_INDEX",
    "SLURM_ARRAY_TASK_ID",
)
_COMMIT_VARIABLES = ("GIT_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA")
_ATTEMPT_VARIABLES = ("AIRFLOW_CTX_TRY_NUMBER", "GITHUB_RUN_ATTEMPT", "AWS_BATCH_JOB_ATTEMPT")
_KUBERNETES_VARIABLES = ("KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_NAMESPACE", "NODE_NAME", "HOSTNAME")
_OTEL_VARIABLES = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")

FOREIGN_VARIABLES = (
    *_SHARD_VARIABLES,
    *_COMMIT_VARIABLES,
    *_ATTEMPT_VARIABLES,
    *_KUBERNETES_VARIABLES,
    *_OTEL_VARIABLES,
)
"""Every variable without our prefix that `identify` reads: what a test sets aside to be the same on every machine."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the environment that the SDK reads.

    Args:
        name: Its full name.
        default: What an absent or empty variable means, in words.
        help: What it does.
    """

    name: str
    default: str
    help: str


VARIABLES = (
    Variable(
        "PYMETRICS_GATEWAY_URL", "none: nothing is pushed", "Where to push; user:password@ in it becomes basic auth."
    ),
    Variable("PYMETRICS_JOB", "the CronJob's name, else the script's", "The job's name, where the code gives none."),
    Variable("PYMETRICS_LABELS", "none", "More grouping labels: shard=3,region=eu."),
    Variable("PYMETRICS_USERNAME", "none", "User name for basic auth."),
    Variable("PYMETRICS_PASSWORD", "none", "Password for basic auth."),
    Variable("PYMETRICS_TOKEN", "none", "Bearer token."),
    Variable(
        "PYMETRICS_TOKEN_FILE", "none", "File that holds the bearer token; read at every push, so it may be rotated."
    ),
    Variable(
        "PYMETRICS_CA_FILE",
        "the system's",
        "PEM file with the authorities that the gateway's certificate must come from.",
    ),
    Variable("PYMETRICS_CERT_FILE", "none", "PEM file with the client certificate for mutual TLS."),
    Variable("PYMETRICS_KEY_FILE", "in the certificate's file", "PEM file with the client certificate's key."),
    Variable("PYMETRICS_TIMEOUT", "5s", "Total deadline of the final push, retries included."),
    Variable("PYMETRICS_SPOOL_DIR", "none", "Reserved for the spool; not used yet."),
    Variable("PYMETRICS_STRICT", "0", "1 makes a failed final push of a successful run raise PushError."),
    Variable("PYMETRICS_DISABLED", "0", "1 turns every push off."),
)
"""Every variable with our prefix; docs/reference/environment.md is checked against it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how to push.

    Args:
        gateway_url: Without credentials and trailing slash; "" if there is no gateway.
        username: Basic auth; "" for none.
        password: Basic auth.
        token: Bearer token; "" for none.
        token_file: File with the bearer token; wins over `token`.
        ca_file: PEM authorities; "" for the system's.
        cert_file: PEM client certificate; "" for none.
        key_file: Its key; "" if it is in the same file.
        timeout_seconds: Total deadline of a final push.
        spool_dir: Reserved.
        strict: Whether a failed final push of a successful run raises.
        disabled: Whether pushing is off.
        job: PYMETRICS_JOB; "" if unset.
        labels: PYMETRICS_LABELS.
        problems: What could not be used, one sentence each.
    """

    gateway_url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    spool_dir: str = ""
    strict: bool = False
    disabled: bool = False
    job: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def with_gateway(self, url: str) -> Settings:
        """Return these settings with another gateway and the credentials in `url`.

        Without any in it, the present ones are kept if they are for that gateway, or for no particular one.

        Raises:
            ConfigError: The URL cannot be used.
        """
        clean, username, password = split_gateway_url(url, setting="gateway")
        if not username and self.gateway_url in {"", clean}:
            return replace(self, gateway_url=clean)
        # The environment's credentials are for the environment's gateway; another one must not learn them.
        return replace(self, gateway_url=clean, username=username, password=password, token="", token_file="")


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the ``PYMETRICS_*`` variables; a value that cannot be used is noted in `problems` and otherwise ignored.

    Args:
        environ: The environment; default: the process's.
    """
    env = os.environ if environ is None else environ
    problems: list[str] = []

    def text(name: str) -> str:
        return env.get(f"PYMETRICS_{name}", "").strip()

    def secret(name: str) -> str:
        # Not stripped: a password may begin or end with a space.
        return env.get(f"PYMETRICS_{name}", "")

    def attempt(name: str, parse: Callable[[str], T], fallback: T) -> T:
        try:
            return parse(text(name)) if text(name) else fallback
        except ConfigError as error:
            problems.append(str(error))
            return fallback

    def timeout(value: str) -> float:
        return seconds(value, setting="PYMETRICS_TIMEOUT")

    def gateway(value: str) -> tuple[str, str, str]:
        return split_gateway_url(value, setting="PYMETRICS_GATEWAY_URL")

    url, username, password = attempt("GATEWAY_URL", gateway, ("", "", ""))
    if secret("USERNAME"):
        # As a pair: the user of the one with the password of the other is nobody.
        username, password = secret("USERNAME"), secret("PASSWORD")
    elif secret("PASSWORD"):
        problems.append("PYMETRICS_PASSWORD: there is no PYMETRICS_USERNAME that it could belong to")
    return Settings(
        gateway_url=url,
        username=username,
        password=password,
        token=secret("TOKEN"),
        token_file=text("TOKEN_FILE"),
        ca_file=text("CA_FILE"),
        cert_file=text("CERT_FILE"),
        key_file=text("KEY_FILE"),
        timeout_seconds=attempt("TIMEOUT", timeout, DEFAULT_TIMEOUT_SECONDS),
        spool_dir=text("SPOOL_DIR"),
        strict=_is_true(text("STRICT")),
        disabled=_is_true(text("DISABLED")),
        job=text("JOB"),
        labels=attempt("LABELS", parse_labels, {}),
        problems=tuple(problems),
    )


def parse_labels(text: str) -> dict[str, str]:
    """Read ``name=value,name=value``.

    Raises:
        ConfigError: A part has no equals sign or no name.
    """
    labels = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ConfigError("PYMETRICS_LABELS", f"{part!r} is not name=value")
        labels[name.strip()] = value.strip()
    return labels


def split_gateway_url(url: str, *, setting: str) -> tuple[str, str, str]:
    """Take the credentials out of a gateway's URL.

    Args:
        url: ``http://user:password@host:9091/prefix``; without a scheme, http is meant.
        setting: The setting's name, for the error.

    Returns:
        The URL without credentials, query and trailing slash; user name and password, "" where there are none.

    Raises:
        ConfigError: There is no host. The message does not repeat the URL, which may hold a password.
    """
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(setting, "is no URL; expected something like http://pushgateway:9091") from None
    if not parts.hostname:
        raise ConfigError(setting, "has no host; expected something like http://pushgateway:9091")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    clean = SplitResult(parts.scheme, host if port is None else f"{host}:{port}", parts.path.rstrip("/"), "", "")
    return urlunsplit(clean), unquote(parts.username or ""), unquote(parts.password or "")


def _is_true(text: str) -> bool:
    return text.lower() in {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is.

    Args:
        job: The logical name; never a generated one.
        namespace: Kubernetes namespace; "" outside.
        shard: Index in an array of jobs; "" if there is none.
        cronjob: The CronJob's name; "" if unknown.
        job_name: The Kubernetes Job's name; "" if unknown.
        pod: The pod's name; "" outside Kubernetes.
        node: The node's name; "" if unknown.
        version: The application's version; "" if unknown.
        commit: The application's commit; "" if unknown.
        attempt: 1 for the first try.
        scheduled_at_seconds: Unix time for which a CronJob planned this run; None if unknown.
    """

    job: str
    namespace: str = ""
    shard: str = ""
    cronjob: str = ""
    job_name: str = ""
    pod: str = ""
    node: str = ""
    version: str = ""
    commit: str = ""
    attempt: int = 1
    scheduled_at_seconds: float | None = None


def identify(
    *,
    now: float,
    job: str = "",
    version: str = "",
    environ: Mapping[str, str] | None = None,
    namespace_file: Path | None = None,
    script: str | None = None,
) -> Identity:
    """Find out who this process is; asks nobody, reads the environment and at most one file.

    The name is never one that Kubernetes generated, of a pod, a host or a Job: each run would leave a group behind.

    Args:
        now: Unix time; a scheduled minute further than 7 days from it is taken for a coincidence of names.
        job: The name that the code gives; "" if it gives none.
        version: The application's version as the code gives it.
        environ: Default: the process's.
        namespace_file: Where Kubernetes mounts the namespace of the service account. Default: its usual place.
        script: The program's path, the last resort for a name. Default: ``sys.argv[0]``.
    """
    env = os.environ if environ is None else environ
    namespace_file = namespace_file or service_account_namespace
    resource = _resource_attributes(env.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    kubernetes = "KUBERNETES_SERVICE_HOST" in env or os.path.exists(namespace_file)
    pod = resource.get("k8s.pod.name") or env.get("POD_NAME") or (env.get("HOSTNAME", "") if kubernetes else "")
    shard = _first(env, *_SHARD_VARIABLES)
    cronjob, job_name, scheduled = _from_pod_name(pod, now, shard) if kubernetes else ("", "", None)
    cronjob = resource.get("k8s.cronjob.name", cronjob)
    job_name = resource.get("k8s.job.name", job_name)
    name = (
        job
        or env.get("PYMETRICS_JOB", "").strip()
        or env.get("OTEL_SERVICE_NAME")
        or resource.get("service.name")
        or cronjob
        or Path(sys.argv[0] if script is None else script).stem
        or ("python" if script is None else "")
    )
    return Identity(
        job=name,
        namespace=_namespace(env, resource, namespace_file),
        shard=shard,
        cronjob=cronjob,
        job_name=job_name,
        pod=pod,
        node=resource.get("k8s.node.name") or env.get("NODE_NAME", ""),
        version=version or resource.get("service.version", ""),
        commit=_first(env, *_COMMIT_VARIABLES) or resource.get("vcs.ref.head.revision", ""),
        attempt=_attempt(env),
        scheduled_at_seconds=scheduled,
    )


def _namespace(env: Mapping[str, str], resource: Mapping[str, str], namespace_file: Path) -> str:
    declared = parse_labels_quietly(env.get("PYMETRICS_LABELS", "")).get("namespace")
    found = declared or resource.get("k8s.namespace.name") or env.get("POD_NAMESPACE")
    if found:
        return found
    try:
        return namespace_file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def parse_labels_quietly(text: str) -> dict[str, str]:
    """Read ``name=value,...``; what cannot be read is nothing (`read_settings` reports it)."""
    try:
        return parse_labels(text)
    except ConfigError:
        return {}


def _from_pod_name(pod: str, now: float, shard: str) -> tuple[str, str, float | None]:
    """Return CronJob, Job and the scheduled Unix time from a pod's name, as Kubernetes' controllers make it."""
    job = _POD_SUFFIX.sub("", pod)
    if shard:
        job = job.removesuffix(f"-{shard}")
    match = _JOB_OF_CRONJOB.fullmatch(job)
    if match and abs(int(match["minutes"]) * 60.0 - now) <= _WEEK_SECONDS:
        return match["cronjob"], job, int(match["minutes"]) * 60.0
    return "", job, None


def _resource_attributes(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}


def _attempt(env: Mapping[str, str]) -> int:
    found = _first(env, *_ATTEMPT_VARIABLES)
    # Not isdigit, which is true of "²" too; and no number that is longer than any count of attempts.
    usable = found.isascii() and found.isdecimal() and len(found) <= MAX_ATTEMPT_DIGITS
    return max(1, int(found)) if usable else 1


def _first(env: Mapping[str, str], *names: str) -> str:
    return next((env[name] for name in names if env.get(name)), "")
