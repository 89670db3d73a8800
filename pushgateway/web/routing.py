"""Which view answers a path, and what is said when none does?

werkzeug's own matching is not used, for three reasons: it decodes paths lossily, while a push path must reach the
grouping rules byte for byte; it redirects unclean paths for every method, while a redirected push comes back as a GET;
and binding it to a request took 30 us, a lookup here takes 2.

A rule is a fixed path, or a fixed beginning followed by ``<path:rest>``, which takes one byte or more. The route prefix
and the telemetry path are put in here: views know nothing of them, and no character in them means anything.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter, RequestRedirect, Rule

__all__ = ["Adapter", "Route", "Table"]

Methods: TypeAlias = dict[str, Rule]

_REST: Final = "<path:rest>"

_FOLDERS: Final = ("/static/", "/api/v1/")
"""Beginnings that get a missing last slash added although nothing but a 404 is there, as in the original."""


_broken_escape: Final = re.compile(r"%(?![0-9A-Fa-f]{2})").search


class Table:
    """All routes of an application, made once.

    Paths in here are as in WSGI: bytes, each as the latin-1 character of the same number.

    Args:
        rules: What the blueprints registered.
        prefix: The route prefix, "" or ``/x``.
        moved: Endpoints whose path the operator chose, with that path (the telemetry path).
        bare: Endpoints to which the prefix does not apply.
    """

    def __init__(
        self, rules: Iterable[Rule], *, prefix: str, moved: Mapping[str, str], bare: Collection[str] = ()
    ) -> None:
        self.prefix = _wsgi(prefix)
        self._exact: dict[str, Methods] = {}
        self._beginnings: dict[str, Methods] = {}
        for rule in rules:
            path = moved.get(rule.endpoint, rule.rule)
            fixed = path.removesuffix(_REST)
            full = _wsgi(fixed if rule.endpoint in bare else prefix + fixed)
            methods = (self._exact if fixed == path else self._beginnings).setdefault(full, {})
            methods.update(dict.fromkeys(rule.methods or (), rule))
        readable = [path for path, methods in self._exact.items() if "GET" in methods]
        readable += [_wsgi(prefix + folder) for folder in _FOLDERS]
        self._readable = {path.lower(): path for path in readable}

    def match(self, path: str, method: str) -> Rule:
        """Return the rule that takes a request.

        Raises:
            NotFound: Nothing is there.
            MethodNotAllowed: Something is there for other methods, which the error names.
        """
        for methods in self._found(path):
            if method in methods:
                return methods[method]
        allowed = self.allowed(path)
        # OPTIONS alone is what /api/v1/ANY takes: no proof that anything is there.
        if allowed <= {"OPTIONS"}:
            raise NotFound
        raise MethodNotAllowed(valid_methods=sorted(allowed))

    def allowed(self, path: str) -> set[str]:
        """Return the methods that a path takes, empty if nothing is there."""
        return {method for methods in self._found(path) for method in methods}

    def _found(self, path: str) -> Iterator[Methods]:
        if path in self._exact:
            yield self._exact[path]
        for beginning, methods in self._beginnings.items():
            if path.startswith(beginning) and len(path) > len(beginning):
                yield methods

    def cleaned(self, path: str) -> str | None:
        """Return the readable path that was meant by one with the wrong case, slashes or dots; None if none was."""
        tidy = re.sub("/{2,}", "/", posixpath.normpath("/" + path)).lower()
        for candidate in (tidy, tidy.rstrip("/") + "/"):
            if self._readable.get(candidate, path) != path:
                return self._readable[candidate]
        return None


class Route(Rule):
    """A rule for a `Table`, of which werkzeug's map compiles nothing."""

    def compile(self) -> None:
        """Do nothing: what matches and builds URLs takes 0.3 ms a rule to make, and nobody asks it."""


class Adapter(MapAdapter):
    """What Flask asks about the path of one request; answers from a `Table`, not from werkzeug's map.

    Args:
        table: The routes.
        environ: The request. It gets `pushgateway.path`, PATH_INFO without the route prefix.
    """

    def __init__(self, table: Table, environ: MutableMapping[str, Any]) -> None:
        self._table = table
        self._environ = environ
        self._path: str = environ["PATH_INFO"]
        environ["pushgateway.path"] = self._path.removeprefix(table.prefix)

    def match(self, *_: object, **__: object) -> tuple[Rule, Mapping[str, Any]]:
        """Return the rule for the request; views read the rest of the path from the environment themselves.

        Raises:
            HTTPException: 400, 404, 405, or for GET and HEAD a redirect to the path that was meant.
        """
        method = self._environ["REQUEST_METHOD"]
        # Servers leave a broken escape as it is, as if it were %25zz; RAW_URI, where there is one, tells.
        if "%" in self._path and _broken_escape(self._environ.get("RAW_URI", "").partition("?")[0]):
            raise BadRequest("invalid URL escape in the path; expected % and two hexadecimal digits")
        try:
            return self._table.match(self._path, method), {}
        except NotFound:
            if method not in {"GET", "HEAD"} or (target := self._table.cleaned(self._path)) is None:
                raise
            raise _Moved(self._location(target)) from None

    def allowed_methods(self, path_info: str | None = None) -> Iterable[str]:
        """Return the methods that the request's path takes."""
        return sorted(self._table.allowed(self._path if path_info is None else path_info))

    def _location(self, path: str) -> str:
        """Return where a path is, relative to the one that was sent: a proxy may have taken its beginning away."""
        query = self._environ.get("QUERY_STRING", "")
        whole = quote((self._environ.get("SCRIPT_NAME", "") + path).encode("latin-1"))
        sent = self._environ.get("RAW_URI", "").partition("?")[0]
        # Not where clients disagree about what a segment is; browsers send no dots.
        if sent.startswith("/") and "/." not in sent and "//" not in sent:
            whole = ("../" * (sent.count("/") - 1) or "./") + whole[1:]
        return whole + (f"?{query}" if query else "")


class _Moved(RequestRedirect):
    code = 301


def _wsgi(path: str) -> str:
    return path.encode().decode("latin-1")
