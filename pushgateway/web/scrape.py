"""What does a scrape answer, and when is it made anew?

What is stored is read and compressed once for each of its versions (`Store.version`), format and encoding; of a scrape
that finds nothing changed only the gateway's own families are made. Whether something has changed is asked when the
scrape begins, so that it shows every push that was answered before, whoever has taken it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from flask import Blueprint, Response, request
from werkzeug.http import parse_etags, quote_etag

from pushgateway import formats
from pushgateway.formats import ContentEncoding, Exposition, ExpositionFormat
from pushgateway.memory import give_memory_back, trim_heap
from pushgateway.web import exposition
from pushgateway.web.environ import RAISED, Environ
from pushgateway.web.exposition import Finished
from pushgateway.web.handlers import Services, services
from pushgateway.web.responses import Answer
from pushgateway.web.sections import Packer, finish_sections

__all__ = ["bp", "carry_out"]

bp = Blueprint("scrape", __name__)

_MANY_SECTIONS: Final = 16
"""After so many were read, which takes 20 ms, memory goes back to the system, which takes 1: 1 to 5 MB a worker."""


class Scraped(NamedTuple):
    """The answer to a scrape, its body in parts."""

    status: int
    headers: list[tuple[str, str]]
    parts: Sequence[bytes]


@bp.get("/metrics")
def scrape() -> Response:
    """Answer with everything exposed; the path is the telemetry path, wherever the operator has put it."""
    if RAISED in request.environ:
        raise request.environ.pop(RAISED)  # never a local of this frame, which it would then refer to
    status, headers, parts = carry_out(services(), request.environ)
    return Answer(parts, status=status, headers=headers)


def carry_out(at_hand: Services, environ: Environ) -> Scraped:
    """Answer a scrape; needs nothing of Flask.

    Args:
        at_hand: The services.
        environ: The request, of which only headers are read.

    Raises:
        StoreUnreadableError: The store cannot be read.
    """
    asked = formats.exposition(cast(str, environ.get("HTTP_ACCEPT", "")), openmetrics=at_hand.config.enable_openmetrics)
    encoding = formats.accepted_encoding(cast(str, environ.get("HTTP_ACCEPT_ENCODING", "")))
    known = cast(str, environ.get("HTTP_IF_NONE_MATCH", ""))
    if encoding != "identity":
        # Nothing large is made of what is kept, but where it has to be inflated.
        finished = at_hand.kept.find(asked, encoding, at_hand.store.version())
        if finished is not None:
            return _answer(at_hand, finished, encoding, known=known)
    with at_hand.scrapes.turn():
        return _answer(at_hand, _finished(at_hand, asked, encoding), encoding, known=known)


def _finished(at_hand: Services, asked: Exposition, encoding: ContentEncoding) -> Finished:
    """Return what is kept, or read and keep what is stored now."""
    packing: ContentEncoding = "gzip" if encoding == "identity" else encoding
    # Before the store is read: what changes in between makes the next scrape read again, and not this one miss it.
    version = at_hand.store.version()
    finished = at_hand.kept.find(asked, packing, version)
    if finished is None:
        finished, read = _of_sections(at_hand, asked, packing) or (_of_snapshot(at_hand, asked, packing), 0)
        at_hand.kept.keep(finished, packing, version)
        if read >= _MANY_SECTIONS:  # and what they have replaced is not kept any more
            trim_heap()
    return finished


def _of_sections(at_hand: Services, asked: Exposition, packing: ContentEncoding) -> tuple[Finished, int] | None:
    """Read what has changed since the last time, and tell how many sections; None where that cannot be told."""
    if asked.format is not ExpositionFormat.TEXT:
        return None
    packer = Packer(at_hand.kept.sections, text_bytes=at_hand.kept.most_text_bytes)
    found = at_hand.store.sections(packer.known(), packer.take)
    if found is None:
        return None
    sections = packer.all(found.sections)
    if packing == "zstd":
        sections = [one.with_frames() for one in sections]
    at_hand.kept.keep_sections(sections)
    finished = finish_sections(asked, found, sections, packing=packing)
    at_hand.scrapes.made(finished.size_bytes)
    return finished, sum(not isinstance(one, int) for one in found.sections)


def _of_snapshot(at_hand: Services, asked: Exposition, packing: ContentEncoding) -> Finished:
    """Read all that is stored."""
    snapshot = at_hand.store.families(exposition.form_of(asked.format), legacy_only=exposition.takes_legacy_only(asked))
    finished = exposition.finish(asked, snapshot, packing=packing)
    del snapshot
    at_hand.scrapes.made(finished.size_bytes)
    if at_hand.scrapes.is_large:
        give_memory_back()
    return finished


def _answer(at_hand: Services, finished: Finished, encoding: ContentEncoding, *, known: str) -> Scraped:
    """Put the gateway's own families into what is finished, unless the client has it: `known` are its tags."""
    at_hand.diagnosis.note_helps(inconsistent=finished.many_helps, overlapping=finished.overlapping)
    tag = f"{finished.tag}-{encoding}"
    # Weak: it tells nothing of the gateway's own families, which are never the same twice.
    tagged = ("ETag", quote_etag(tag, weak=True))
    if known and parse_etags(known).contains_weak(tag):
        return Scraped(304, [tagged], ())
    own = at_hand.telemetry.families(
        store_writable=not at_hand.store.unwritable_reason(), inconsistent_series=finished.left_out
    )
    parts = exposition.put_together(finished, own, encoding)
    headers = [("Content-Type", finished.asked.content_type)]
    if encoding != "identity":
        headers.append(("Content-Encoding", encoding))
    return Scraped(200, [*headers, tagged], parts)
