"""What does a gateway that runs elsewhere answer?"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import ssl
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from pushgateway.errors import CommandError, RequestError
from pushgateway.formats import protobuf
from pushgateway.formats.json_groups import ListedGroup, parse_groups
from pushgateway.limits import Limits
from pushgateway.model import MetricFamily

__all__ = ["Remote"]

_PROTOBUF: Final = "application/vnd.google.protobuf"
_ACCEPT: Final = f"{_PROTOBUF};proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8"
_EVERYTHING: Final = 2**62
_NO_LIMITS: Final = Limits(
    samples_per_push=_EVERYTHING, labels_per_series=_EVERYTHING, name_bytes=_EVERYTHING, value_bytes=_EVERYTHING
)
_SHOWN_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Remote:
    """A Pushgateway, the original or ours.

    Attributes:
        url: Its base URL, with its route prefix, without a slash at the end and without credentials.
        user: The name for basic authentication, "" for none.
        password: The password.
        ca_file: Certificates that its own has to be signed with; "" for those of the system.
        timeout_seconds: How long it may be silent.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_seconds: float = 60.0

    def groups(self) -> tuple[ListedGroup, ...]:
        """Return its groups as its JSON API lists them.

        Raises:
            CommandError: It cannot be asked, or what it answers is not such a list.
        """
        url = f"{self.url}/api/v1/metrics"
        _, body = self._get(url, "application/json")
        try:
            return parse_groups(body)
        except RequestError as error:
            raise CommandError(f"{url} is not a Pushgateway's: {error}") from error

    def scrape(self) -> Sequence[MetricFamily]:
        """Return what it exposes.

        Raises:
            CommandError: It cannot be asked, exposes nothing, as the original does when what it holds is inconsistent,
                or answers something else than delimited protobuf.
        """
        url = self.url + self._telemetry_path()
        content_type, body = self._get(url, _ACCEPT)
        if not content_type.startswith(_PROTOBUF):
            raise CommandError(f"{url} answers {content_type or 'something'} where {_PROTOBUF} was asked for")
        try:
            return protobuf.parse(body, limits=_NO_LIMITS)
        except RequestError as error:
            raise CommandError(f"{url} does not answer delimited protobuf: {error}") from error

    def _telemetry_path(self) -> str:
        """Return the path of its exposition, which its status page tells."""
        _, body = self._get(f"{self.url}/api/v1/status", "application/json")
        try:
            return str(json.loads(body)["data"]["flags"]["web.telemetry-path"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return "/metrics"

    def _get(self, url: str, accept: str) -> tuple[str, bytes]:
        request = urllib.request.Request(url, headers={"Accept": accept, "Accept-Encoding": "gzip"})  # noqa: S310 - http(s)
        if self.user:
            credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            # A redirect may lead to somebody else.
            request.add_unredirected_header("Authorization", f"Basic {credentials}")
        try:
            with self._opener().open(request, timeout=self.timeout_seconds) as answer:
                body = answer.read()
                if answer.headers.get("Content-Encoding", "") == "gzip":
                    body = gzip.decompress(body)
                return answer.headers.get("Content-Type", ""), body
        except urllib.error.HTTPError as error:
            with error:
                raise CommandError(_refused(url, error)) from error
        # ValueError: a host name or a redirect that is none.
        except (OSError, http.client.HTTPException, EOFError, ValueError, zlib.error) as error:
            raise CommandError(f"{url} cannot be read: {_reason(error)}") from error

    def _opener(self) -> urllib.request.OpenerDirector:
        if urlsplit(self.url).scheme != "https":
            return urllib.request.build_opener()
        context = ssl.create_default_context(cafile=self.ca_file or None)
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def _refused(url: str, error: urllib.error.HTTPError) -> str:
    hints = {401: "; give --basic-auth-user and --password-file", 404: "; is its route prefix missing in the URL?"}
    said = " ".join(error.read(4 * _SHOWN_CHARACTERS).decode("utf-8", "replace").split())[:_SHOWN_CHARACTERS]
    return f"{url} answered {error.code} {error.reason}{': ' if said else ''}{said}{hints.get(error.code, '')}"


def _reason(error: Any) -> str:
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, http.client.IncompleteRead):
        return f"the answer ended after {len(error.partial)} bytes"
    return str(error) or type(error).__name__
