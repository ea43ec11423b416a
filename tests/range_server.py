"""An HTTP server on loopback that lists directories and answers requests for ranges."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class RangeServer(ThreadingHTTPServer):
    """Counts the bytes of files that it sent.

    It fails ``failing`` requests for ranges first, and all for paths that end in ``broken``.
    """

    daemon_threads = True
    sent = 0
    failing = 0
    broken: str | None = None


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        if self.server.broken and self.path.endswith(self.server.broken):
            self.send_error(503)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not wanted or not path.is_file():
            super().do_GET()
            return
        if self.server.failing:
            self.server.failing -= 1
            self.send_error(503)
            return
        start, end = int(wanted[1]), min(int(wanted[2]), path.stat().st_size - 1)
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start + 1)
        self.server.sent += len(data)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{path.stat().st_size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_HEAD(self) -> None:
        if self.server.broken and self.path.endswith(self.server.broken):
            self.send_error(503)
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            super().do_HEAD()
            return
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        del args


@contextmanager
def serving(folder: Path) -> Iterator[tuple[RangeServer, str]]:
    """Serve a folder; gives the server and its address."""
    server = RangeServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
