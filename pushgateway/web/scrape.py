"""What does a scrape answer, and when is it made anew?

What is stored is read and compressed once for each of its versions (`Store.version`), format and encoding; of a scrape
that finds nothing changed only the gateway's own families are made. Whether something has changed is asked when the
scrape begins, so that it shows every push that was answered before, whoever has taken it.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from pushgateway import formats
from pushgateway.formats import ContentEncoding, Exposition, ExpositionFormat
from pushgateway.memory import give_memory_back
from pushgateway.web import exposition
from pushgateway.web.exposition import Finished
from pushgateway.web.handlers import Services, services
from pushgateway.web.responses import Answer, empty
from pushgateway.web.sections import Packer, finish_sections

__all__ = ["bp"]

bp = Blueprint("scrape", __name__)


@bp.get("/metrics")
def scrape() -> Response:
    """Answer with everything exposed; the path is the telemetry path, wherever the operator has put it."""
    at_hand, headers = services(), request.headers
    asked = formats.exposition(headers.get("Accept", ""), openmetrics=at_hand.config.enable_openmetrics)
    encoding = formats.accepted_encoding(headers.get("Accept-Encoding", ""))
    if encoding != "identity":
        # Nothing large is made of what is kept, but where it has to be inflated.
        finished = at_hand.kept.find(asked, encoding, at_hand.store.version())
        if finished is not None:
            return _answer(at_hand, finished, encoding)
    with at_hand.scrapes.turn():
        return _answer(at_hand, _finished(at_hand, asked, encoding), encoding)


def _finished(at_hand: Services, asked: Exposition, encoding: ContentEncoding) -> Finished:
    """Return what is kept, or read and keep what is stored now."""
    packing: ContentEncoding = "gzip" if encoding == "identity" else encoding
    # Before the store is read: what changes in between makes the next scrape read again, and not this one miss it.
    version = at_hand.store.version()
    finished = at_hand.kept.find(asked, packing, version)
    if finished is None:
        finished = _of_sections(at_hand, asked, packing) or _of_snapshot(at_hand, asked, packing)
        at_hand.kept.keep(finished, packing, version)
    return finished


def _of_sections(at_hand: Services, asked: Exposition, packing: ContentEncoding) -> Finished | None:
    """Read what has changed since the last time; None where that cannot be told."""
    if asked.format is not ExpositionFormat.TEXT:
        return None
    packer = Packer(at_hand.kept.sections(packing), packing, text_bytes=at_hand.kept.most_text_bytes)
    found = at_hand.store.sections(packer.known(), packer.take)
    if found is None:
        return None
    sections = packer.all(found.sections)
    at_hand.kept.keep_sections(sections, packing)
    finished = finish_sections(asked, found, sections, packing=packing)
    at_hand.scrapes.made(finished.size_bytes)
    return finished


def _of_snapshot(at_hand: Services, asked: Exposition, packing: ContentEncoding) -> Finished:
    """Read all that is stored."""
    snapshot = at_hand.store.families(exposition.form_of(asked.format), legacy_only=exposition.takes_legacy_only(asked))
    finished = exposition.finish(asked, snapshot, packing=packing)
    del snapshot
    at_hand.scrapes.made(finished.size_bytes)
    if at_hand.scrapes.is_large:
        give_memory_back()
    return finished


def _answer(at_hand: Services, finished: Finished, encoding: ContentEncoding) -> Response:
    at_hand.diagnosis.note_helps(inconsistent=finished.many_helps, overlapping=finished.overlapping)
    tag = f"{finished.tag}-{encoding}"
    if request.if_none_match.contains_weak(tag):
        response = empty(304)
    else:
        own = at_hand.telemetry.families(
            store_writable=not at_hand.store.unwritable_reason(), inconsistent_series=finished.left_out
        )
        body = exposition.put_together(finished, own, encoding)
        response = Answer(body, content_type=finished.asked.content_type)
        if encoding != "identity":
            response.headers["Content-Encoding"] = encoding
    # Weak: it tells nothing of the gateway's own families, which are never the same twice.
    response.set_etag(tag, weak=True)
    return response
