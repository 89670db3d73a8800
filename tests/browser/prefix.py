"""How does a test put a proxy before a gateway that takes a prefix off all paths, as nginx does with proxy_pass?

with Stripping(gateway, "/metrics/gateway") as base:
    ...  # base is the gateway's address as browsers see it
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.harness import Service

__all__ = ["stripping"]

_OF_A_CONNECTION = ("connection", "host", "keep-alive", "transfer-encoding")


@contextlib.contextmanager
def stripping(gateway: Service, prefix: str) -> Iterator[str]:
    """Run the proxy; give the gateway's base URL as seen through it. What is not below the prefix is answered 404."""

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            if not self.path.startswith(prefix + "/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_A_CONNECTION}
            upstream = http.client.HTTPConnection(*gateway.address, timeout=30)
            with contextlib.closing(upstream):
                # The host is the gateway's own, as with nginx unless it is told otherwise.
                upstream.request(self.command, self.path.removeprefix(prefix), body or None, headers)
                answer = upstream.getresponse()
                answered = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (*_OF_A_CONNECTION, "content-length", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answered)))
            self.end_headers()
            self.wfile.write(answered)

        do_GET = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815 # the names that the base class looks for

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
        server.shutdown()
        thread.join()
