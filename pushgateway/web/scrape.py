"""What does a scrape show, and in which order?

The gateway's own families and what was pushed, families sorted by name. A text scrape renders nothing that a push has
rendered already: the store returns finished lines, which are put together under their headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flask import Blueprint, Response, request

from pushgateway import formats, rules
from pushgateway.formats import compression, protobuf, text
from pushgateway.model import FamilyBlock, Form, Group, MetricFamily, MetricType, Snapshot
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_FAILURE_TIME_HELP, PUSH_TIME, PUSH_TIME_HELP
from pushgateway.rules import Contested, Resolution
from pushgateway.web.handlers import services
from pushgateway.web.responses import Answer

__all__ = ["bp"]

bp = Blueprint("scrape", __name__)


@bp.get("/metrics")
def scrape() -> Response:
    """Answer with everything exposed; the path is the telemetry path, wherever the operator has put it."""
    at_hand = services()
    snapshot = at_hand.store.families(Form.TEXT)
    resolution = _resolve(snapshot.contested, at_hand.telemetry.names())
    own = at_hand.telemetry.families(
        store_writable=not at_hand.store.unwritable_reason(), inconsistent_series=resolution.left_out
    )
    headers = request.headers
    encoding = formats.accepted_encoding(headers.get("Accept-Encoding", ""))
    content_type = formats.exposition_content_type(headers.get("Accept", ""))
    body = compression.compress(render(snapshot, resolution.families, own), encoding)
    response = Answer(body, content_type=content_type)
    if encoding != "identity":
        response.headers["Content-Encoding"] = encoding
    return response


def render(snapshot: Snapshot, contested: Iterable[MetricFamily], own: Iterable[MetricFamily]) -> bytes:
    """Put an exposition in text 0.0.4 together.

    Args:
        snapshot: What is stored, bodies in text.
        contested: What to expose of its contested families.
        own: The gateway's own families. Where one has the name of a pushed one, which then has its type, both are shown
            under the own one's HELP.

    Returns:
        The exposition, families sorted by name.
    """
    heads: dict[str, bytes] = {}
    bodies: dict[str, list[bytes]] = {}
    for name, head, lines in _parts(snapshot, contested, own):
        heads.setdefault(name, head)
        bodies.setdefault(name, []).extend(lines)
    return b"".join(part for name in sorted(heads) for part in (heads[name], *bodies[name]))


_Part = tuple[str, bytes, Iterable[bytes]]


def _parts(snapshot: Snapshot, contested: Iterable[MetricFamily], own: Iterable[MetricFamily]) -> Iterator[_Part]:
    """Yield names, headers and lines; of one name the first header counts."""
    for family in own:
        yield _part(family)
    for view in snapshot.families:
        yield view.name, text.render_header(view.name, view.type, view.help), view.bodies
    for family in contested:
        yield _part(family)
    if snapshot.groups:
        pushed = (_line(PUSH_TIME, group, group.pushed_at_seconds) for group in snapshot.groups)
        yield PUSH_TIME, text.render_header(PUSH_TIME, MetricType.GAUGE, PUSH_TIME_HELP), pushed
        failed = (_line(PUSH_FAILURE_TIME, group, group.failed_at_seconds) for group in snapshot.groups)
        yield PUSH_FAILURE_TIME, text.render_header(PUSH_FAILURE_TIME, MetricType.GAUGE, PUSH_FAILURE_TIME_HELP), failed


def _part(family: MetricFamily) -> _Part:
    return family.name, text.render_header(family.name, family.type, family.help), (text.render_metrics(family),)


def _line(name: str, group: Group, seconds: float) -> bytes:
    return b"%b%b %b\n" % (name.encode(), group.series, text.format_value(seconds).encode())


def _resolve(contested: Iterable[FamilyBlock], own: Mapping[str, MetricType]) -> Resolution:
    blocks = [Contested(block, protobuf.decode_metrics(block.type, block.body)) for block in contested]
    return rules.resolve(blocks, own)
