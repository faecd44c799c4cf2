"""A server with the few routes of the Hugging Face Hub that students need, on loopback, in memory."""

import base64
import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_test"


class FakeHub:
    """Repositories by name and branch: the bytes of each file; ``status`` answers everything, ``hang`` waits first."""

    def __init__(self):
        self.branches, self.private, self.requests = {}, {}, []
        self.status, self.hang, self.sizes = None, 0.0, {}
        self.refused = {}  # status by path
        self.commits = {}

    def commit(self, name, branch, files):
        old = self.files(name, branch) or {}
        commit = hashlib.sha1(repr((name, branch, sorted({**old, **files}.items()))).encode()).hexdigest()
        self.commits[name, commit] = {**old, **files}
        self.branches[name, branch] = commit
        return commit

    def files(self, name, revision):
        return self.commits.get((name, self.branches.get((name, revision), revision)))

    def sha(self, name, revision):
        return self.branches.get((name, revision), revision)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        """Print nothing."""

    def answer(self, status, body=b"", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_request(self):
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub.requests.append((self.command, path, self.headers.get("Authorization")))
        if hub.hang:
            return time.sleep(hub.hang)
        if status := hub.refused.get(path, hub.status):
            return self.answer(status, {"error": "as the test wants it"})
        if path.startswith("/api/"):
            return self.api(hub, path.split("/")[2:], body)
        user, student, _, revision, file = path.strip("/").split("/", 4)
        return self.file(hub, f"{user}/{student}", revision, file)

    do_GET = do_HEAD = do_POST = handle_request  # noqa: N815

    def file(self, hub, name, revision, file):
        files = hub.files(name, revision)
        if files is None or file not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        etag = hashlib.sha1(files[file]).hexdigest()
        return self.answer(200, files[file], ETag=f'"{etag}"', X_Repo_Commit=hub.sha(name, revision))

    def api(self, hub, words, body):
        match words:
            case ["whoami-v2"]:
                known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                return self.answer(200 if known else 401, {"name": "user", "type": "user"})
            case ["validate-yaml"]:
                return self.answer(200, {"warnings": [], "errors": []})
            case ["repos", "create"]:
                values = json.loads(body)
                name = f"{values['organization'] or 'user'}/{values['name']}"
                hub.private[name] = values.get("visibility") or values.get("private")
                hub.commit(name, "main", {})
                return self.answer(200, {"url": f"http://{self.headers['Host']}/{name}"})
            case ["models", user, student, "preupload", _]:
                files = json.loads(body)["files"]
                return self.answer(
                    200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
                )
            case ["models", user, student, "branch", branch]:
                hub.commit(f"{user}/{student}", branch, hub.files(f"{user}/{student}", "main"))
                return self.answer(200)
            case ["models", user, student, "commit", branch]:
                lines = [json.loads(line) for line in body.splitlines()]
                values = [line["value"] for line in lines if line["key"] == "file"]
                files = {value["path"]: base64.b64decode(value["content"]) for value in values}
                commit = hub.commit(f"{user}/{student}", branch, files)
                url = f"http://{self.headers['Host']}/{user}/{student}/commit/{commit}"
                return self.answer(200, {"commitUrl": url, "commitOid": commit})
            case ["models", user, student, "revision", revision]:
                return self.repository(hub, f"{user}/{student}", revision)
        return self.answer(404)

    def repository(self, hub, name, revision):
        files = hub.files(name, revision)
        if files is None:
            known = any(name == other for other, _ in hub.commits)
            return self.answer(404, X_Error_Code="RevisionNotFound" if known else "RepoNotFound")
        siblings = [{"rfilename": file, "size": hub.sizes.get(file, len(data))} for file, data in files.items()]
        return self.answer(200, {"id": name, "sha": hub.sha(name, revision), "siblings": siblings})


@contextmanager
def fake_hub():
    """Serve a :class:`FakeHub`; yield it with its ``url``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.hub = True, FakeHub()
    server.hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.hub
    finally:
        server.hub.hang = 0.0
        server.shutdown()
        server.server_close()
