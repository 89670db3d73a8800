"""What does a scrape show, in which order and in which format?

The gateway's own families and what was pushed, families sorted by name. A scrape in text or protobuf renders nothing
that a push has rendered already: the store returns finished pieces, which are put together under their headers. But a
scraper that takes legacy names only has all others escaped, and so their families come apart and are rendered anew; and
OpenMetrics, whose names depend on all that is stored, is rendered from the pieces of protobuf.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from flask import Blueprint, Response, request

from pushgateway import formats, rules
from pushgateway.formats import ExpositionFormat, compression, openmetrics, protobuf, text
from pushgateway.model import (
    FamilyBlock,
    FamilyView,
    Form,
    Group,
    GroupingKey,
    Labels,
    MetricFamily,
    MetricType,
    Sample,
    Snapshot,
)
from pushgateway.names import (
    PUSH_FAILURE_TIME,
    PUSH_FAILURE_TIME_HELP,
    PUSH_TIME,
    PUSH_TIME_HELP,
    TIME_FAMILIES,
    Escaping,
)
from pushgateway.own_families import OWN
from pushgateway.rules import Contested, Resolution
from pushgateway.web.handlers import Services, services
from pushgateway.web.responses import Answer

__all__ = ["bp", "render"]

bp = Blueprint("scrape", __name__)

_ENCODE: Final = {Form.TEXT: text.render_metrics, Form.METRICS: protobuf.encode_metrics}
"""What makes a family's body in the form in which the store returns the others."""


@bp.get("/metrics")
def scrape() -> Response:
    """Answer with everything exposed; the path is the telemetry path, wherever the operator has put it."""
    with services().scrapes.turn():
        return _exposed(services())


def _exposed(at_hand: Services) -> Response:
    headers = request.headers
    exposition = formats.exposition(headers.get("Accept", ""), openmetrics=at_hand.config.enable_openmetrics)
    form = Form.TEXT if exposition.format is ExpositionFormat.TEXT else Form.METRICS
    legacy_only = exposition.escaping is not Escaping.ALLOW_UTF_8
    snapshot = at_hand.store.families(form, legacy_only=legacy_only)
    names = at_hand.telemetry.names()
    resolution = _resolve(snapshot.contested, names)
    contested: Sequence[MetricFamily] = resolution.families
    if legacy_only:
        contested = _escaped(contested, snapshot, names, exposition.escaping)
        snapshot = snapshot._replace(groups=_with_legacy_labels(snapshot.groups, exposition.escaping))
    own = at_hand.telemetry.families(
        store_writable=not at_hand.store.unwritable_reason(), inconsistent_series=resolution.left_out
    )
    at_hand.diagnosis.note_helps(
        inconsistent=snapshot.many_helps,
        overlapping=[view.name for view in snapshot.families if view.name in OWN and view.help != OWN[view.name].help],
    )
    encoding = formats.accepted_encoding(headers.get("Accept-Encoding", ""))
    body = render(exposition.format, snapshot, contested=contested, own=own)
    at_hand.scrapes.made(len(body))
    response = Answer(compression.compress(body, encoding), content_type=exposition.content_type)
    if encoding != "identity":
        response.headers["Content-Encoding"] = encoding
    return response


def render(
    format: ExpositionFormat, snapshot: Snapshot, *, contested: Iterable[MetricFamily], own: Iterable[MetricFamily]
) -> bytes:
    """Put an exposition together.

    Args:
        format: What it is written in.
        snapshot: What is stored, bodies in text for text, else in METRICS form.
        contested: What to expose of its contested families, under the names that the scraper takes.
        own: The gateway's own families. Where one has the name of a pushed one, which then has its type, both are shown
            under the own one's HELP.

    Returns:
        The exposition, families sorted by name; those without series are left out.
    """
    if format is ExpositionFormat.TEXT:
        views = _merged(snapshot, contested, own, Form.TEXT)
        return b"".join(
            part for view in views for part in (text.render_header(view.name, view.type, view.help), *view.bodies)
        )
    views = _merged(snapshot, contested, own, Form.METRICS)
    if format in formats.OPENMETRICS_FORMATS:
        return _render_openmetrics(views)
    body = b"".join(
        protobuf.render_family(view.name, view.type, view.help, unit=_unit(view), bodies=view.bodies) for view in views
    )
    if format is ExpositionFormat.PROTOBUF:
        return body
    return protobuf.render_as_text(body, compact=format is ExpositionFormat.PROTOBUF_COMPACT_TEXT)


def _render_openmetrics(views: Sequence[FamilyView]) -> bytes:
    names = openmetrics.exposed_names({view.name: view.type for view in views})
    return b"".join([*(openmetrics.render_family(_decoded(view), names[view.name]) for view in views), openmetrics.END])


def _decoded(view: FamilyView) -> MetricFamily:
    metrics = protobuf.decode_metrics(view.type, b"".join(view.bodies))
    return MetricFamily(view.name, view.type, view.help, metrics, view.unit)


def _merged(
    snapshot: Snapshot, contested: Iterable[MetricFamily], own: Iterable[MetricFamily], form: Form
) -> list[FamilyView]:
    """Return everything that has series, one view a name, sorted; of one name the first view tells help and unit."""
    views: dict[str, FamilyView] = {}
    for view in _views(snapshot, contested, own, form):
        if any(view.bodies):
            first = views.get(view.name)
            views[view.name] = view if first is None else first._replace(bodies=[*first.bodies, *view.bodies])
    return [views[name] for name in sorted(views)]


def _views(
    snapshot: Snapshot, contested: Iterable[MetricFamily], own: Iterable[MetricFamily], form: Form
) -> Iterator[FamilyView]:
    yield from (_view(family, form) for family in own)
    yield from snapshot.families
    yield from (_view(family, form) for family in contested)
    if snapshot.groups:
        times = _time_lines if form is Form.TEXT else _time_metrics
        pushed = [group.pushed_at_seconds for group in snapshot.groups]
        yield FamilyView(PUSH_TIME, MetricType.GAUGE, PUSH_TIME_HELP, times(PUSH_TIME, snapshot.groups, pushed))
        failed = [group.failed_at_seconds for group in snapshot.groups]
        bodies = times(PUSH_FAILURE_TIME, snapshot.groups, failed)
        yield FamilyView(PUSH_FAILURE_TIME, MetricType.GAUGE, PUSH_FAILURE_TIME_HELP, bodies)


def _unit(view: FamilyView) -> str:
    """Return the unit, if the name says it: for any other newer releases of Prometheus drop the whole scrape."""
    name = view.name.removesuffix("_total") if view.type is MetricType.COUNTER else view.name
    return view.unit if name.endswith(f"_{view.unit}") else ""


def _view(family: MetricFamily, form: Form) -> FamilyView:
    return FamilyView(family.name, family.type, family.help, (_ENCODE[form](family),), family.unit)


def _time_lines(name: str, groups: Iterable[Group], times: Iterable[float]) -> Sequence[bytes]:
    start = name.encode()
    return [
        b"%b%b %b\n" % (start, group.series, text.format_value(seconds).encode())
        for group, seconds in zip(groups, times, strict=True)
    ]


def _time_metrics(name: str, groups: Iterable[Group], times: Iterable[float]) -> Sequence[bytes]:
    samples = (Sample(_labels(group), seconds) for group, seconds in zip(groups, times, strict=True))
    return (protobuf.encode_metrics(MetricFamily(name, MetricType.GAUGE, "", tuple(samples))),)


def _escaped(
    families: Sequence[MetricFamily], snapshot: Snapshot, own: Mapping[str, MetricType], escaping: Escaping
) -> Sequence[MetricFamily]:
    """Give families that came apart names that are legacy, and different from all that is exposed beside them."""
    if all(map(rules.is_legacy, families)):
        return families
    others = {view.name: view.type for view in snapshot.families}
    times = dict.fromkeys(TIME_FAMILIES, MetricType.GAUGE)
    return rules.escape(families, {**others, **own, **times}, escaping)


def _with_legacy_labels(groups: Sequence[Group], escaping: Escaping) -> Sequence[Group]:
    """Give groups keys, and with them push times, whose label names are legacy; most gateways have no others."""
    if all(group.legacy for group in groups):
        return groups
    labels = [_labels(group) for group in groups]
    written = rules.escape_labels((name for pairs in labels for name, _ in pairs), escaping)

    def escaped(group: Group, pairs: Labels) -> Group:
        key = GroupingKey.of(rules.rename(pairs, written))
        return group._replace(key=key.key, series=text.render_labels(rules.group_labels(key)))

    return [group if group.legacy else escaped(group, pairs) for group, pairs in zip(groups, labels, strict=True)]


def _labels(group: Group) -> Labels:
    return rules.group_labels(GroupingKey.of((name, value) for name, value in json.loads(group.key)))


def _resolve(contested: Iterable[FamilyBlock], own: Mapping[str, MetricType]) -> Resolution:
    blocks = [Contested(block, protobuf.decode_metrics(block.type, block.body)) for block in contested]
    return rules.resolve(blocks, own)
