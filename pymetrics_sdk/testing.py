"""How does a test see what a job would have pushed?

    with in_memory_gateway() as gateway:
        main()
    assert gateway.group(job="nightly-billing")["batch_job_last_result", {"result": "success"}] == 1

No network, no pytest: the pytest plugin offers the same as the fixture ``pymetrics``.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from pymetrics_sdk import cells, environment
from pymetrics_sdk.environment import FOREIGN_VARIABLES, Settings
from pymetrics_sdk.errors import TransportError
from pymetrics_sdk.transport import SCHEMES, Deadline, Request, Response, Transport

__all__ = ["Group", "InMemoryGateway", "Push", "in_memory_gateway", "pushes_elsewhere"]

Labels = Mapping[str, str]
_names = itertools.count(1)


@dataclass(frozen=True)
class Push:
    """One request that the in-memory gateway received.

    Args:
        method: POST, PUT or DELETE.
        labels: The grouping key, with ``job``.
        families: Names of the families in the body.
        headers: As sent.
        body: The text, decompressed.
    """

    method: str
    labels: Labels
    families: tuple[str, ...]
    headers: Labels
    body: str


@dataclass
class Group:
    """What a gateway would hold of one group.

        group["batch_job_running"]
        group["batch_job_last_result", {"result": "success"}]

    Args:
        labels: The grouping key, with ``job``.
        families: Family name to its samples.
    """

    labels: Labels
    families: dict[str, Metric] = field(default_factory=dict)

    def __getitem__(self, series: str | tuple[str, Labels]) -> float:
        name, labels = (series, {}) if isinstance(series, str) else series
        found = self._series(name)
        wanted = _identity(labels)
        if wanted not in found:
            known = "\n".join(f"  {name}{dict(each)}" for each in sorted(found)) or f"  no series {name} at all"
            raise KeyError(f"{name}{dict(labels)} is not in the group {dict(self.labels)}; it has:\n{known}")
        return found[wanted]

    def __contains__(self, series: str | tuple[str, Labels]) -> bool:
        name, labels = (series, {}) if isinstance(series, str) else series
        return _identity(labels) in self._series(name)

    def total(self, name: str, labels: Labels | None = None) -> float:
        """Return the sum of all series of `name` that have at least these labels; 0 if there are none."""
        wanted = _identity(labels or {})
        return sum(value for identity, value in self._series(name).items() if wanted <= identity)

    def _series(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        samples = (sample for family in self.families.values() for sample in family.samples)
        return {_identity(sample.labels): sample.value for sample in samples if sample.name == name}


class InMemoryGateway:
    """A gateway that lives in the test's process.

    It stores as a real one does: POST replaces whole families, PUT the whole group, DELETE removes it; a body that
    cannot be read, a sample with a time stamp or the same series twice is refused with 400.
    """

    def __init__(self) -> None:
        self.url = f"memory://gateway-{next(_names)}"
        self.groups: list[Group] = []
        self.pushes: list[Push] = []
        self.elsewhere: list[str] = []
        self._answers: list[Response] = []

    def group(self, job: str, **labels: str) -> Group:
        """Return the group with exactly this grouping key.

        Raises:
            KeyError: There is none; the message lists those that there are.
        """
        wanted = _identity({"job": job, **labels})
        for group in self.groups:
            if _identity(group.labels) == wanted:
                return group
        known = ", ".join(str(dict(group.labels)) for group in self.groups) or "no group at all"
        raise KeyError(f"nothing was pushed to { ({'job': job, **labels}) }; there is {known}")

    def answer(self, status: int, body: str = "", *, times: int = 1, headers: Labels | None = None) -> None:
        """Answer the next pushes with `status` and store nothing of them.

        Start pushes and heartbeats, which come beside the job and at no certain time, are answered as usual.

        Args:
            status: 200 to 599.
            body: The reason.
            times: How many pushes; one that is repeated without compression after a 400 is the same push.
            headers: Names in lower case, as ``retry-after``.
        """
        self._answers += [Response(status, body.encode(), dict(headers or {}))] * times

    def open(self, settings: Settings) -> Transport:
        """Open a transport to this gateway; see `pymetrics_sdk.transport.SCHEMES`."""
        if settings.gateway_url != self.url:
            self.elsewhere.append(settings.gateway_url)
            return _Unreachable(settings.gateway_url)
        return self

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Take one request; see `Transport.send`."""
        path = urlsplit(request.url).path
        if request.method == "GET":
            if request.take is None:
                return Response(200, self._read(path))
            request.take(self._read(path))
            return Response(200)
        compressed = request.headers.get("Content-Encoding") == "gzip"
        body = gzip.decompress(request.body) if compressed else request.body
        if self._answers and b"\nbatch_job_running 1" not in body:
            again = compressed and self._answers[0].status == 400
            return self._answers[0] if again else self._answers.pop(0)
        try:
            labels = _parse_path(path)
            families = {metric.name: metric for metric in text_string_to_metric_families(body.decode())}
            _check(families)
        except ValueError as error:
            return Response(400, str(error).encode())
        self.pushes.append(Push(request.method, labels, tuple(families), dict(request.headers), body.decode()))
        self._apply(request.method, labels, families)
        return Response(202 if request.method == "DELETE" else 200)

    def close(self) -> None:
        """Keep everything: a closed transport is not a closed gateway."""

    def _read(self, path: str) -> bytes:
        if path == "/api/v1/metrics":
            data: object = [
                {"labels": dict(each.labels), **{name: {} for name in each.families}} for each in self.groups
            ]
        else:
            data = {"build_information": {"version": "in-memory"}, "extensions": []}
        return json.dumps({"status": "success", "data": data}).encode()

    def _apply(self, method: str, labels: Labels, families: dict[str, Metric]) -> None:
        identity = _identity(labels)
        known = next((group for group in self.groups if _identity(group.labels) == identity), None)
        if known is not None and method in {"PUT", "DELETE"}:
            self.groups.remove(known)
            known = None
        if method == "DELETE":
            return
        if known is None:
            known = Group(labels)
            self.groups.append(known)
        known.families.update(families)


class _Unreachable:
    """Where pushes go that a test did not expect."""

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, request: Request, deadline: Deadline) -> Response:
        raise TransportError(f"this is a test: nothing is pushed to {self._url}")

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def in_memory_gateway() -> Iterator[InMemoryGateway]:
    """Let every push of this process go to an in-memory gateway.

    ``PYMETRICS_*`` variables are set aside meanwhile, and so is all else from which a run learns who it is: a test
    finds the same grouping key on a laptop, in CI and in a pod. Counts outside runs start at zero. A job that names
    another gateway in its code does not reach it; its URL is noted in `InMemoryGateway.elsewhere`.
    """
    gateway = InMemoryGateway()
    aside = [name for name in os.environ if name.startswith("PYMETRICS_") or name in FOREIGN_VARIABLES]
    saved = {name: os.environ.pop(name) for name in aside}
    namespace_file = environment.service_account_namespace
    environment.service_account_namespace = Path(os.devnull, "none")
    os.environ["PYMETRICS_GATEWAY_URL"] = gateway.url
    cells.process_scope.forget()
    try:
        with _schemes(gateway.open):
            yield gateway
    finally:
        os.environ.pop("PYMETRICS_GATEWAY_URL", None)
        os.environ.update(saved)
        environment.service_account_namespace = namespace_file


@contextmanager
def pushes_elsewhere() -> Iterator[list[str]]:
    """Let no push of this process leave it; yields the list of the gateways that it tried to reach."""
    tried: list[str] = []

    def refuse(settings: Settings) -> Transport:
        tried.append(settings.gateway_url)
        return _Unreachable(settings.gateway_url)

    with _schemes(refuse):
        yield tried


@contextmanager
def _schemes(opener: Callable[[Settings], Transport]) -> Iterator[None]:
    saved = dict(SCHEMES)
    SCHEMES.update({"http": opener, "https": opener, "memory": opener})
    try:
        yield
    finally:
        SCHEMES.clear()
        SCHEMES.update(saved)


def _identity(labels: Labels) -> frozenset[tuple[str, str]]:
    """Return what makes a series or group the same: an empty label is an absent one."""
    return frozenset((name, value) for name, value in labels.items() if value)


def _parse_path(path: str) -> dict[str, str]:
    parts = path.removeprefix("/metrics/").split("/")
    if len(parts) % 2:
        raise ValueError(f"odd number of components in {path!r}")
    labels = {}
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        plain = name.removesuffix("@base64")
        padded = value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4)
        labels[plain] = base64.urlsafe_b64decode(padded).decode() if plain != name else value
    return labels


def _check(families: Mapping[str, Metric]) -> None:
    for metric in families.values():
        seen = set()
        for sample in metric.samples:
            if sample.timestamp is not None:
                raise ValueError("pushed metrics must not have timestamps")
            series = (sample.name, _identity(sample.labels))
            if series in seen:
                raise ValueError(
                    f"{sample.name}{sample.labels} was collected before with the same name and label values"
                )
            seen.add(series)
