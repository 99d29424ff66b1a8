# SPDX-License-Identifier: BSD-3-Clause
"""A server of files on this computer."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror:
    """A server on this computer, which counts requests and can cut answers short."""

    def __init__(self, slug, files, version="1.0.0"):
        self.files = {f"/{slug}/{version}/{name}": data for name, data in files.items()}
        sums = [f"{hashlib.sha256(data).hexdigest()} {name}" for name, data in files.items()]
        self.sums = f"/{slug}/{version}/SHA256SUMS.txt"
        self.files[self.sums] = ("\n".join(sums) + "\n").encode()
        self.asked, self.cut, self.range_status = [], {}, 206
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(mirror):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                mirror.asked.append((self.path, wanted))
                data = mirror.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                status = mirror.range_status if wanted else 200
                if status == 416:
                    self.send_error(416)
                    return
                first = int(wanted.removeprefix("bytes=").rstrip("-")) if status == 206 else 0
                self.send_response(status)
                self.send_header("Content-Length", str(len(data) - first))
                self.end_headers()
                self.wfile.write(data[first : mirror.cut.pop(self.path, None)])

            def log_message(self, *args):
                pass

        return Handler

    def close(self):
        self.server.shutdown()
        self.server.server_close()
