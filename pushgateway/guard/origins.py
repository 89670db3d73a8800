"""Is this request a change that a web page of another site has sent, in the name of whoever looks at that page?

A browser sends such requests from inside a network, with the passwords that it remembers, and the page needs to read no
answer to push, delete, wipe or quit. The rule is the algorithm of Go 1.25's `http.CrossOriginProtection`
(https://pkg.go.dev/net/http#CrossOriginProtection, https://words.filippo.io/csrf/), which needs no token in any page:

1. GET, HEAD and OPTIONS pass, since they change nothing.
2. Sec-Fetch-Site, which all browsers of today send and no page can forge (https://www.w3.org/TR/fetch-metadata/):
   `same-origin`, and `none`, which is a person's own doing, pass; everything else is refused, `same-site` too.
3. Without it, Origin, which older browsers send too: it passes if it names the host that Host names, or that of
   --web.external-url; everything else is refused, `null` too.
4. Neither: no browser. curl, SDKs and Prometheus' clients send neither.

X-Forwarded-Host is not looked at, as nowhere in the gateway: anybody can send it. Rule 3 does not see from `http` to
`https` of one host; browsers that need it are of before 2023.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from pushgateway.values import shown

__all__ = ["Origins"]

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({b"same-origin", b"none"})
_BEHIND_A_PROXY: Final = "; behind a proxy that changes Host set --web.external-url to what browsers see"
_PORTS: Final = {"http": ":80", "https": ":443"}


class Origins:
    """Whose pages may change something.

    Args:
        external_url: The URL under which browsers see the gateway; "" if it is not known.
    """

    def __init__(self, external_url: str = "") -> None:
        self._external_host = _host(external_url)

    def problem(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return why a request is refused, "" if it is not. Takes 0.1 us for what only reads, else 0.5 us.

        Args:
            method: The HTTP method.
            headers: The request's headers, names in lower case.
        """
        if method in _SAFE:
            return ""
        fields = dict(headers)  # of a header that no browser sends twice, the last counts
        if site := fields.get(b"sec-fetch-site"):
            return "" if site in _OWN else _refusal("Sec-Fetch-Site", site)
        if not (origin := fields.get(b"origin")):
            return ""
        found = _host(origin.decode("latin-1"))
        own = found and found in (fields.get(b"host", b"").decode("latin-1").lower(), self._external_host)
        return "" if own else _refusal("Origin", origin) + _BEHIND_A_PROXY


def _refusal(header: str, value: bytes) -> str:
    return (
        f"cross-site request refused: a browser says that a page of another site sent it ({header} is "
        f"{shown(value.decode('latin-1'))}), and such pages may only read"
    )


def _host(origin: str) -> str:
    """Return host and port as a browser's Host header has them; "" if there is none, as in ``null``."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.rpartition("@")[2].lower().removesuffix(_PORTS.get(parts.scheme, " "))
