# SPDX-License-Identifier: BSD-3-Clause
"""A server on this computer that speaks as much of the Hugging Face hub's protocol as is used."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories with commits.

    ``asked`` has the name and the first byte of each file that was sent; the next answers with a
    file end after the bytes that ``cut`` lists for its name.
    """

    def __init__(self):
        self.commits = {}  # repository -> commit -> name -> bytes
        self.heads = {}  # repository -> commit of main
        self.gated, self.refused = set(), set()  # repositories; of the latter nothing is told
        self.asked, self.cut = [], {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        serve = self.server.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()

    def push(self, repository, files):
        """Make these all files of main; returns the commit."""
        files = {".gitattributes": b"* -text\n", **files}
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(repository, {})[commit] = files
        self.heads[repository] = commit
        return commit

    def _handler(hub):
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                path = unquote(urlsplit(self.path).path)
                for pattern, answer in _ROUTES:
                    match = re.fullmatch(pattern, path)
                    if match:
                        return self._answer(answer, *match.groups())
                return self._refuse(404, "EntryNotFound")

            def _answer(self, answer, repository, revision="main", name=None):
                commits = hub.commits.get(repository)
                if repository in hub.refused:
                    return self._refuse(403, "Forbidden")
                if commits is None:
                    return self._refuse(401, "RepoNotFound")
                commit = hub.heads[repository] if revision == "main" else revision
                if commit not in commits:
                    return self._refuse(404, "RevisionNotFound")
                files = commits[commit]
                if answer == "file":
                    return self._send_file(repository, commit, name)
                tree = [describe(name, data) for name, data in files.items()]
                info = {"id": repository, "sha": commit, "siblings": [], "tags": []}
                return self._send(200, json.dumps(info if answer == "info" else tree).encode())

            def _send_file(self, repository, commit, name):
                data = hub.commits[repository][commit].get(name)
                if repository in hub.gated:
                    return self._refuse(401, "GatedRepo")
                if data is None:
                    return self._refuse(404, "EntryNotFound")
                first, last = 0, None
                if self.command == "GET":
                    first = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
                    last = hub.cut[name].pop(0) if hub.cut.get(name) else None
                    hub.asked.append((name, first))
                headers = {"ETag": f'"{describe(name, data)["oid"]}"', "X-Repo-Commit": commit}
                if first:
                    headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
                return self._send(206 if first else 200, data[first:], headers, last)

            def _refuse(self, status, code):
                self._send(status, b"{}", {"X-Error-Code": code})

            def _send(self, status, data, headers=(), last=None):
                self.send_response(status)
                for key, value in {**dict(headers), "Content-Length": len(data)}.items():
                    self.send_header(key, str(value))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data[:last])

            def log_message(self, *args):
                pass

        return Handler

    def close(self):
        """End the server, after which nobody answers."""
        self.server.shutdown()
        self.server.server_close()


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = (
    (rf"/api/models/{_NAME}", "info"),
    (rf"/api/models/{_NAME}/revision/([^/]+)", "info"),
    (rf"/api/models/{_NAME}/tree/([^/]+)", "tree"),
    (rf"/{_NAME}/resolve/([^/]+)/(.+)", "file"),
)


def describe(name, data):
    """An entry of a list of files."""
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
