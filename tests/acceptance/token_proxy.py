"""A reverse proxy on loopback for a client that cannot send a token.

It adds the token and, where the request names the proxy itself as Host or Origin, puts the door's own address there.
A foreign Host or Origin goes through untouched, so that the door is what refuses it. Answers are passed on as they
come, so streams are streams.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "host", "content-length", "date", "server"})


@contextmanager
def token_proxy(port: int, headers: Mapping[str, str]) -> Iterator[str]:
    """Run the proxy before the door at a port; yields its address.

    Args:
        port: the door's.
        headers: what is set in every request, whatever the client says.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, http.client.HTTPException):
                self.close_connection = True  # one of the two sides went away

        def pass_on(self) -> None:
            own = f":{self.server.server_address[1]}"
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            door = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            door.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            door.putheader("Host", self.headers["host"].replace(own, f":{port}"))
            fixed = {name.lower() for name in headers}
            for name, value in self.headers.items():
                if name.lower() not in HOP | fixed:
                    door.putheader(
                        name, value.replace(own, f":{port}") if name.lower() == "origin" else value
                    )
            for name, value in headers.items():
                door.putheader(name, value)
            if self.command == "POST":
                door.putheader("Content-Length", str(len(body)))
            door.endheaders(body or None)
            answer = door.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            try:
                while data := answer.read1(65536):
                    self.wfile.write(data)
                    self.wfile.flush()
            finally:
                door.close()

        do_GET = do_POST = do_DELETE = pass_on

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
