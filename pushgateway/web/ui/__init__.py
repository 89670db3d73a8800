"""What does a person see who opens the gateway in a browser?

One blueprint, one module a page, one template a module. How to write a page:

1. The view goes into a module of its own, and answers with `frame.page(template, ...)`::

       from pushgateway.web.ui.frame import page

       def groups() -> Response:
           return page("groups.html", groups=...)

   Add it to `_VIEWS` at the end of this file, by which the module is imported when its first page is asked for; give
   its endpoint (`ui.groups`) a word in `web._HANDLERS`; describe its path in web/openapi/paths.py,
   docs/reference/http-api.md and docs/reference/metrics.md.

2. The template begins with ``{% extends "base.html" %}`` and fills the blocks `title` (a few words; the gateway's name
   is added) and `main` (begins with the page's only ``<h1>``). The navigation marks its entry by itself: the first
   segment of the path decides.

3. Each link, asset and form action is written with `url`, and nothing begins with a slash::

       <a href="{{ url("groups/job/etl", q="env=dev", sort="name") }}">

   `url` is relative to the page's own depth, so that it holds behind a route prefix and behind proxies that strip one.
   The path has to be percent-encoded already; the query is encoded here, and None leaves a parameter out. A view that
   redirects answers `frame.see(path, ...)`, which is the same as a 303.

4. At hand in all templates:

       {{ seconds | ago }}        <time>3 min ago</time>, the absolute time on hover; "never" for 0
       {{ seconds | moment }}     <time>2023-11-14 22:13:20 UTC</time>
       {{ seconds | duration }}   1 h 2 min, the exact seconds on hover
       {{ number | readable }}    1 234 or 5.68 M, the exact value on hover; a `Quantity` as argument gives it a unit
       {{ number | data_size }}   4.6 MB, the exact bytes on hover
       {{ text | excerpt(100) }}  `text` and how many characters are `hidden`, with escapes for what cannot be seen
       {{ text | with_code }}     what stands in backticks as code; for texts of our own
       {{ number | plural("group") }}  1 group, 2 groups (a second word for an odd plural)

   ``{% import "macros.html" as ui %}`` gives `ui.labels(pairs)`, `ui.cut(text, most)` and `ui.told(reason)`, which cut
   what is long and show what cannot be seen as escapes, `ui.badge(text, kind)`, `ui.code(text, name)` (a block with a
   copy button), `ui.table(name)` (a ``{% call %}`` around a table, which scrolls by itself on a phone).
   What was pushed is put into ``<bdi>``, which keeps right-to-left text from turning its surroundings.

5. The policy (`frame.POLICY`) runs no inline script and takes no inline style: no `style=`, no `onclick=`. Lengths in
   charts are attributes of SVG. Pages work without JavaScript. With it static/live.js does the following:

       data-live="NAME"       its content is replaced when the page is fetched again; names are unique on a page. What
                              the reader has opened, checked, typed or selected in it stays: give `details`, inputs
                              and rows an `id` that does not depend on their place. A page that comes back without one
                              of its parts is loaded anew: put conditions inside
       data-confirm="WORDS"   on a form: its submit button waits until the input named `confirm` says WORDS. The view
                              compares too
       data-check-all         on a check box in the head of a table, hidden until there is a script: checks all below it
       data-copy              on a button, hidden until there is a script: copies the text of the `code` beside it

6. Classes (static/style.css): `card`, `cards` (a grid of them), `stat`, `badge` (`good`, `bad`, `warn`, `quiet`),
   `button` (`primary`, `danger`, `plain`), `field`, `toolbar`, `notice` (`good`, `bad`, `warn`), `scroll`, `number` (a
   column of numbers), `clamp` (a long text in few lines), `quiet`, `labels`, `pages`, `visually-hidden`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Final, cast

from flask import Response

from pushgateway.web.environ import DELETES
from pushgateway.web.ui.frame import bp

__all__ = ["bp"]

_VIEWS: Final = (
    ("GET", "/", "overview", "overview"),
    ("GET", "/failures", "failures", "failures"),
    ("GET", "/groups", "groups", "groups"),
    ("POST", DELETES, "groups", "delete"),
    ("GET", "/groups/job/<path:rest>", "group", "group"),
    ("GET", "/groups/job@base64/<path:rest>", "group", "group"),
    ("GET", "/static/<path:rest>", "assets", "static"),
    ("GET", "/status", "status", "status"),
    ("POST", "/status/wipe", "status", "wipe"),
)
"""Method, path, module and function of each; the function's name is that of the endpoint too."""


@functools.cache
def _view(module: str, name: str) -> Callable[[], Response]:
    """Return a view whose module is imported when it is first called.

    All of them, with what they show things with, take 20 of 370 ms of the start, and most gateways show no page.
    """

    def view() -> Response:
        found = importlib.import_module(f"{__name__}.{module}")
        return cast("Response", getattr(found, name)())

    return view


for _method, _path, _module, _name in _VIEWS:
    bp.add_url_rule(_path, _name, _view(_module, _name), methods=[_method])
