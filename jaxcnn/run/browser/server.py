"""One page and one function behind it, on this machine's loopback address only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jaxcnn.data import BadImage
from jaxcnn.errors import InputError

ADDRESS = "127.0.0.1"
LIMIT = 2**24
"""Most bytes of an upload."""
SILENCE = 30.0
"""Seconds without a byte after which a connection is closed."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy: the page loads nothing from elsewhere and sends nothing elsewhere."""


def make_server(page: str, answer: Callable[[bytes], dict[str, Any]], port: int = 0) -> ThreadingHTTPServer:
    """Bind a server to 127.0.0.1: GET / is the page, POST /answer calls the function with the body.

    A request must name 127.0.0.1 or localhost as its host, and one from a page must be from this page: other web pages
    that the browser shows cannot use the server. No path is read from a request. One answer is computed at a time.

    Args:
        page: HTML.
        answer: From an image file's bytes to what is sent as JSON; BadImage and InputError become {"error": sentence}.
        port: Port. 0: a free one, `server.server_port`.

    Raises:
        InputError: The port is in use or is not allowed.

    >>> with make_server("<p>hello</p>", lambda file: {"bytes": len(file)}) as server:
    ...     server.server_address[0]
    '127.0.0.1'
    """
    lock, html = threading.Lock(), page.encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SILENCE

        def do_GET(self) -> None:
            if self._is_own():
                self._send(200, html, "text/html") if self.path == "/" else self._refuse(404, "there is one page: /")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not self._is_own():
                return
            if self.path != "/answer":
                self._refuse(404, "pictures are posted to /answer")
            elif not (length.isascii() and length.isdecimal()):
                self._refuse(411, "the length of the picture is missing")
            elif len(length) > 12 or int(length) > LIMIT:
                self._refuse(413, f"the picture has more than {LIMIT:,} bytes; choose a smaller one")
            else:
                body = self.rfile.read(int(length))
                try:
                    with lock:
                        found = answer(body)
                except BadImage as error:
                    found = {"error": f"picture: {error}"}
                except InputError as error:
                    found = {"error": str(error)}
                self._send(422 if "error" in found else 200, json.dumps(found).encode(), "application/json")

        def _is_own(self) -> bool:
            """Refuse names of other hosts, which a web page may point to this machine, and requests of other pages."""
            hosts = [f"{name}:{self.connection.getsockname()[1]}" for name in (ADDRESS, "localhost")]
            host, origin = self.headers.get("Host"), self.headers.get("Origin")
            own = host in hosts and origin in (None, f"http://{host}")
            if not own:
                self._refuse(403, "this page is for this machine only")
            return own

        def _refuse(self, status: int, reason: str) -> None:
            self.close_connection = True  # a body that was not read would be taken for the next request
            self._send(status, json.dumps({"error": reason}).encode(), "application/json")

        def _send(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing for each request."""

    try:
        return ThreadingHTTPServer((ADDRESS, port), Handler)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "must be from 0 to 65535"
        raise InputError(f"port={port}: {reason}; give another one") from None
