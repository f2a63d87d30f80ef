"""A model host on this computer that speaks as much of Hugging Face's protocol as its hub library asks for.

It also answers as a proxy for plain HTTP, can break off in the middle of a file, and can serve over TLS.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHost:
    """``files`` maps names to contents; ``requests`` lists (method, target, Range) as they came in.

    Where ``break_at`` is set, the connection is closed at that byte of a file. ``announced``
    is said to be the sha256 of every file.
    """

    def __init__(self, files: dict[str, bytes], certificate: Path | None = None):
        self.files, self.requests = files, []
        self.break_at: int | None = None
        self.announced: str | None = None
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                host.answer(self)

            def do_GET(self):
                host.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> ModelHost:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """The list of files, or (a part of) one of them."""
        self.requests.append((request.command, request.path, request.headers.get("Range")))
        path = urlsplit(request.path).path
        if path.startswith("/api/models/"):
            names = [{"rfilename": name, **self._facts(content)} for name, content in self.files.items()]
            content = json.dumps({"id": "a/b", "sha": COMMIT, "siblings": names}).encode()
            self._send(request, 200, content, {"Content-Type": "application/json"})
            return
        name = path.rsplit("/", 1)[1]
        if name not in self.files:
            self._send(request, 404, b"")
            return
        content = self.files[name]
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        start = int((request.headers.get("Range") or "bytes=0-")[len("bytes=") :].split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        end = len(content) if self.break_at is None else max(start, self.break_at)
        self._send(request, 206 if start else 200, content[start:], headers, content[start:end])

    def _facts(self, content: bytes) -> dict:
        digest = self.announced or hashlib.sha256(content).hexdigest()
        return {"size": len(content), "lfs": {"sha256": digest, "size": len(content), "pointerSize": 1}}

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        sent: bytes | None = None,
    ) -> None:
        """Announce ``content`` and send it, or only ``sent``."""
        request.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content if sent is None else sent)
        request.close_connection = True
