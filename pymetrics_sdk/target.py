"""Which gateway, and which group in it, does a job push to?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pymetrics_sdk.environment import Identity, Settings, identify, read_settings
from pymetrics_sdk.errors import ConfigError
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.spec import JobSpec

__all__ = ["Target", "resolve"]

logger = logging.getLogger("pymetrics_sdk")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job's metrics go.

    Args:
        settings: The gateway and how to reach it.
        identity: Who this process is.
        key: The group.
    """

    settings: Settings
    identity: Identity
    key: GroupingKey


def resolve(
    spec: JobSpec, *, now: float, environ: Mapping[str, str] | None = None, script: str | None = None
) -> Target:
    """Combine what a job says with what the environment says; the job wins.

    The grouping key is the job's logical name, the namespace in Kubernetes, the index in an array of jobs, and the
    labels that the job or PYMETRICS_LABELS add. Never the pod, the host or the run: each would leave a group behind.

    Args:
        spec: The job.
        now: Unix time.
        environ: Default: the process's.
        script: The program that gives a nameless job its name. Default: this one; "" for none.

    Raises:
        ConfigError: The job has no name, or it names a gateway whose URL cannot be used.
    """
    settings = read_settings(environ)
    if spec.gateway:
        settings = settings.with_gateway(spec.gateway)
    if spec.timeout_seconds is not None:
        settings = replace(settings, timeout_seconds=spec.timeout_seconds)
    identity = identify(now=now, job=spec.name, version=spec.version, environ=environ, script=script)
    return Target(settings, identity, _key(spec, settings, identity))


def _key(spec: JobSpec, settings: Settings, identity: Identity) -> GroupingKey:
    found = {"namespace": identity.namespace, "shard": identity.shard}
    try:
        return GroupingKey.of(identity.job, {**found, **settings.labels, **spec.labels})
    except ConfigError as error:
        if error.setting == "job":
            raise
        # The job's own labels were checked when it was made, so this is PYMETRICS_LABELS.
        logger.warning("PYMETRICS_LABELS is ignored: %s", error)
        return GroupingKey.of(identity.job, {**found, **spec.labels})
