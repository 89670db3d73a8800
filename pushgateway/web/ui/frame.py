"""What do all pages have in common: their headers, their links, what their templates have at hand?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, render_template, request
from markupsafe import Markup

from pushgateway import grouping
from pushgateway.display import texts
from pushgateway.errors import LimitError, RequestError, StoreError, WouldBlockError
from pushgateway.model import GroupingKey
from pushgateway.web import responses
from pushgateway.web.environ import Environ
from pushgateway.web.handlers import services
from pushgateway.web.ui import wording

__all__ = ["POLICY", "base_url", "bp", "group_path", "page", "see", "url"]

bp = Blueprint("ui", "pushgateway.web")

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline and nothing of another host, should escaping ever fail."""


class _Entry(NamedTuple):
    """An entry of the navigation: the first segment of its paths, and its name."""

    section: str
    title: str


_NAVIGATION: Final = (
    _Entry("", "Overview"),
    _Entry("groups", "Groups"),
    _Entry("failures", "Failures"),
    _Entry("status", "Status"),
)


def page(template: str, *, status: int = 200, **values: object) -> Response:
    """Answer with a page.

    Args:
        template: Its name; it extends base.html.
        status: The HTTP status.
        values: What the template shows.
    """
    html = render_template(template, **values)
    response = responses.Answer(html, status=status, content_type="text/html; charset=utf-8")
    # What is stored changes at any time, and going back is not to show what has been deleted.
    response.headers["Cache-Control"] = "no-store"
    return response


def see(path: str, **query: str | int | None) -> Response:
    """Answer 303: what a form has asked for is done, and this is the page to look at. Arguments as those of `url`."""
    return responses.Answer(status=303, headers={"Location": url(path, **query)})


def url(path: str, **query: str | int | None) -> str:
    """Return a link to a path of this gateway that holds wherever a proxy has put it.

    Args:
        path: Percent-encoded, without the route prefix and without a slash at its beginning; "" is the overview.
        query: The parameters; None leaves one out.

    Returns:
        A reference relative to the page that is being made, such as ``../../groups?q=job%3Detl``.
    """
    given = {name: value for name, value in query.items() if value is not None}
    return _root(request.environ) + path + (f"?{urlencode(given)}" if given else "")


def group_path(key: GroupingKey) -> str:
    """Return where the page of a group is, for `url`."""
    return f"groups/{grouping.readable_path(key, utf8_names=services().config.enable_utf8_names)}"


def base_url() -> str:
    """Return the URL of this gateway for commands that a reader copies, without a slash at its end."""
    config = services().config
    if "://" in config.external_url:
        parts = urlsplit(config.external_url)
        # A user and password in it are for whoever has set it, not for all readers.
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return request.host_url.rstrip("/") + config.route_prefix


def _root(environ: Environ) -> str:
    """Return the way from the page that the browser sees up to the overview.

    Counted in the path as it was sent: in PATH_INFO %2F is a slash, while to a browser it is none.
    """
    sent = str(environ.get("RAW_URI") or environ["PATH_INFO"]).partition("?")[0]
    if not sent.startswith("/"):
        # The absolute form, as a proxy gets it.
        sent = "/" + sent.partition("://")[2].partition("/")[2]
    below = sent.count("/") - services().config.route_prefix.count("/") - 1
    return "../" * below or "./"


def _ago(seconds: float) -> Markup:
    return wording.ago(seconds, now_seconds=services().clock())


_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "ago": _ago,
    "data_size": wording.data_size,
    "duration": wording.duration,
    "excerpt": texts.excerpt,
    "moment": wording.moment,
    "percent": wording.percent,
    "plural": wording.plural,
    "quantile_name": wording.quantile_name,
    "readable": wording.readable,
    "with_code": wording.with_code,
}

for _name, _filter in _FILTERS.items():
    bp.add_app_template_filter(_filter, _name)
bp.add_app_template_test(math.isinf, "infinite")
bp.add_app_template_test(wording.is_moment, "moment")


@bp.app_context_processor
def _at_hand() -> dict[str, Any]:
    at_hand = services()
    path: str = request.environ["pushgateway.path"]
    return {
        "url": url,
        "navigation": _NAVIGATION,
        "section": path.strip("/").partition("/")[0],
        "telemetry_path": at_hand.config.telemetry_path.lstrip("/"),
        "unwritable": at_hand.store.unwritable_reason(),
        "version": at_hand.telemetry.build["version"],
        # What answers a form is not fetched again.
        "live": request.method in ("GET", "HEAD"),
    }


@bp.errorhandler(StoreError)
@bp.errorhandler(RequestError)
def _failed(error: StoreError | RequestError) -> Response:
    """Answer as the rest of the gateway does, but to a browser on a page."""
    if isinstance(error, LimitError):
        services().telemetry.count_refusal(error.limit)
    answer = responses.failure(error)
    if "text/html" not in request.headers.get("Accept", ""):
        return answer
    # What was asked for wrongly stays wrong: only what the store cannot do now is worth asking again.
    passing = isinstance(error, StoreError)
    live = {} if passing else {"live": False}
    html = page("error.html", status=answer.status_code, reason=texts.visible(str(error)), passing=passing, **live)
    html.headers.extend({name: value for name, value in answer.headers if name == "Retry-After"})
    return html


@bp.errorhandler(WouldBlockError)
def _pass_on(error: WouldBlockError) -> Response:
    raise error


@bp.after_request
def _guard(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Not no-referrer: with that, browsers say of the pages' own forms that they come from nowhere (Origin: null).
    response.headers["Referrer-Policy"] = "same-origin"
    return response
