"""A store in memory, and what tests of the web need beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.test import Client, TestResponse

from pushgateway.activity import ActivityBoard
from pushgateway.config import Config
from pushgateway.errors import RequestError, StoreError, StoreUnreadableError
from pushgateway.failures import FailureRing
from pushgateway.model import (
    Change,
    Delete,
    FamilyBlock,
    FamilyView,
    Form,
    Group,
    GroupContents,
    GroupPage,
    GroupQuery,
    GroupSummary,
    Known,
    Push,
    Refusal,
    Section,
    Snapshot,
    StoredFamily,
    Totals,
    Wipe,
)
from pushgateway.storage.base import Store, Ticket, Version
from pushgateway.telemetry import Telemetry
from pushgateway.web import Gateway, create_app
from tests.contract.listing import listed, summary

NOW = 1_700_000_000.25


@dataclass
class _Stored:
    series: bytes
    pushed: float = 0.0
    failed: float = 0.0
    reason: str = ""
    families: dict[str, tuple[StoredFamily, float]] = field(default_factory=dict)


class MemoryStore:
    """A store that checks nothing, forgets at exit, and fails as it is told.

    Attributes:
        write_error: What `apply` raises; None applies.
        read_error: Why reads fail; "" reads.
        unwritable: What `unwritable_reason` says.
        versioned: Whether `version` tells the number of changes; else None.
        contested: What a snapshot's `contested` holds.
        many_helps: What a snapshot's `many_helps` holds.
        changes: Every change asked for with its ticket, applied or not.
    """

    inline = True

    def __init__(self) -> None:
        self.write_error: StoreError | Exception | None = None
        self.read_error = ""
        self.unwritable = ""
        self.versioned = False
        self.many_helps: Sequence[str] = ()
        self.contested: Sequence[FamilyBlock] = ()
        self.changes: list[tuple[Change, Ticket | None]] = []
        self._groups: dict[str, _Stored] = {}

    def apply(self, change: Change, ticket: Ticket | None) -> None:
        """Apply a change, or raise `write_error`."""
        self.changes.append((change, ticket))
        if self.write_error is not None:
            raise self.write_error
        match change:
            case Push():
                group = self._groups.setdefault(change.key.key, _Stored(change.series))
                if change.replace:
                    group.families.clear()
                group.families |= {one.name: (one, change.received_at_seconds) for one in change.families}
                group.pushed = change.received_at_seconds
            case Refusal():
                group = self._groups.setdefault(change.key.key, _Stored(change.series))
                group.failed, group.reason = change.received_at_seconds, change.reason
            case Delete():
                self._groups.pop(change.key.key, None)
            case Wipe():
                self._groups.clear()

    def families(self, form: Form, *, legacy_only: bool = False) -> Snapshot:
        """Return everything, in the order of the groups' keys; tests of other names use the real store."""
        self.ping()
        names = sorted({name for group in self._groups.values() for name in group.families})
        views = []
        for name in names:
            found = [group.families[name][0] for _, group in sorted(self._groups.items()) if name in group.families]
            bodies = [one.text if form is Form.TEXT else one.metrics for one in found]
            views.append(FamilyView(name, found[0].type, found[0].help, bodies, found[0].unit))
        return Snapshot(views, [one.group for one in self.groups()], self.contested, self.many_helps)

    def sections(self, known: Sequence[Known], take: Callable[[Section], Any]) -> None:
        """Have none; tests of sections use the real store."""
        self.ping()

    def version(self) -> Version | None:
        """Count changes, if `versioned`; each change may have been applied, or a test may have set anything."""
        self.ping()
        return len(self.changes) if self.versioned else None

    def groups(self) -> Sequence[GroupContents]:
        """Return everything, a group at a time."""
        self.ping()
        return [
            GroupContents(
                Group(key, group.series, group.pushed, group.failed, group.reason),
                [
                    FamilyBlock(one.name, one.type, one.help, one.metrics, key, pushed, pushed, False, one.unit)
                    for _, (one, pushed) in sorted(group.families.items())
                ],
                sum(len(one.text) + len(one.metrics) for one, _ in group.families.values()),
            )
            for key, group in sorted(self._groups.items())
        ]

    def group(self, key: str) -> GroupContents | None:
        """Return one group."""
        return next((one for one in self.groups() if one.group.key == key), None)

    def find_groups(self, query: GroupQuery) -> GroupPage:
        """Return a page; a cursor is how many groups come before it."""
        self.ping()
        found = listed([self._summary(contents) for contents in self.groups()], query)
        if not (query.cursor or "0").isdecimal():
            raise RequestError("the cursor is none of ours")
        at, limit = int(query.cursor or 0), query.limit
        following = str(at + limit) if at + limit < len(found) else ""
        return GroupPage(found[at : at + limit], len(found), following, str(max(at - limit, 0)) if at else "")

    def _summary(self, contents: GroupContents) -> GroupSummary:
        families = [one for one, _ in self._groups[contents.group.key].families.values()]
        return summary(
            contents,
            series=sum(len(one.identities) for one in families),
            size=contents.bytes,
        )

    def totals(self) -> Totals:
        """Count everything."""
        self.ping()
        groups = [self._summary(contents) for contents in self.groups()]
        return Totals(
            len(groups),
            sum(one.families for one in groups),
            sum(one.series for one in groups),
            sum(one.bytes for one in groups),
        )

    def ping(self) -> None:
        """Raise if reads fail."""
        if self.read_error:
            raise StoreUnreadableError(self.read_error)

    def unwritable_reason(self) -> str:
        """Return `unwritable`."""
        return self.unwritable

    def close(self) -> None:
        """Do nothing."""


class Site:
    """An application with a store in memory, and a client for it.

    Args:
        store: Another store to put behind it; `self.store` is then not used.
        settings: Fields of `Config` that differ from the defaults.
    """

    def __init__(self, store: Store | None = None, **settings: Any) -> None:
        self.store = MemoryStore()
        self.telemetry = Telemetry()
        self.now = NOW
        self.quits = 0
        self.failures = FailureRing()
        self.activity = ActivityBoard()
        self.app: Gateway = create_app(
            store=store or self.store,
            telemetry=self.telemetry,
            config=Config(**settings),
            clock=lambda: self.now,
            quit_gateway=self._quit,
            failures=self.failures,
            activity=self.activity,
        )
        self._client = Client(self.app, TestResponse)

    def _quit(self) -> None:
        self.quits += 1

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        environ: dict[str, Any] | None = None,
    ) -> TestResponse:
        """Send a request; `target` is percent-encoded, with a query if need be."""
        path, _, query = target.partition("?")
        overrides = {"PATH_INFO": _wsgi_path(path), "QUERY_STRING": query, "RAW_URI": target, **(environ or {})}
        return self._client.open(
            method=method, data=body or None, headers=headers, environ_overrides=overrides, buffered=True
        )

    def get(self, target: str, **kwargs: Any) -> TestResponse:
        """Send a GET."""
        return self.request("GET", target, **kwargs)

    def push(self, target: str, body: bytes = b"x 1\n", *, method: str = "POST", **kwargs: Any) -> TestResponse:
        """Push to the group of a path such as ``job/a``."""
        return self.request(method, f"/metrics/{target}", body, **kwargs)

    def counted(self) -> dict[tuple[str, str, str], float]:
        """How many requests were counted, by handler, method and code."""
        found = [one for one in self.telemetry.families() if one.name == "pushgateway_http_requests_total"]
        return {
            (labels["handler"], labels["method"], labels["code"]): metric.value
            for family in found
            for metric in family.metrics
            for labels in [dict(metric.labels)]
        }

    def refusals(self) -> dict[str, float]:
        """How many refusals were counted, by limit."""
        found = [one for one in self.telemetry.families() if one.name == "pushgateway_limit_refusals_total"]
        return {dict(metric.labels)["limit"]: metric.value for family in found for metric in family.metrics}


def _wsgi_path(path: str) -> str:
    """Percent-decode as PEP 3333 wants it: bytes as latin-1."""
    return unquote_to_bytes(path).decode("latin-1")
