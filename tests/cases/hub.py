"""A hub on loopback that misbehaves: hub.py MODE [MODEL]. It prints its port, and serves until it is killed.

plain     as the real one does
head405   answers no request for headers alone
nolength  says no length, but in answer to a request for a part
html      sends a page in the place of each file
hang      takes a request, and says nothing
"""

import hashlib
import http.server
import os
import sys
import time

MODE = sys.argv[1]
MODEL = sys.argv[2] if len(sys.argv) > 2 else "."
FOLDERS = {
    "HeartMuLa/HeartMuLaGen": "",
    "HeartMuLa/HeartMuLa-oss-3B-happy-new-year": "HeartMuLa-oss-3B",
    "HeartMuLa/HeartCodec-oss-20260123": "HeartCodec-oss",
}
COMMIT = "a" * 40
PAGE = b"<html><body>Please log in to the network</body></html>"


def found(path):
    """The bytes of the file at `/OWNER/NAME/resolve/REVISION/FILE`, if there is one."""
    repository, _, rest = path.strip("/").partition("/resolve/")
    revision, _, name = rest.partition("/")
    if repository not in FOLDERS or revision not in ("main", COMMIT):
        return None
    place = os.path.join(MODEL, FOLDERS[repository], name)
    if not os.path.isfile(place):
        return None
    with open(place, "rb") as file:
        return file.read()


def etag(path, bytes):
    if path.endswith(".safetensors"):
        return hashlib.sha256(bytes).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(bytes) + bytes).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        if MODE == "hang":
            time.sleep(600)
        elif MODE == "html":
            self.reply(200, PAGE, {"Content-Type": "text/html"})
        elif MODE == "head405" and self.command == "HEAD":
            self.reply(405, b"")
        else:
            self.file(found(self.path.split("?")[0]))

    def file(self, bytes):
        if bytes is None:
            return self.reply(404, b"Entry not found")
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(self.path, bytes)}"', "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        if asked is None:
            return self.reply(200, bytes, headers, chunked=MODE == "nolength")
        begin, _, end = asked.removeprefix("bytes=").partition("-")
        begin, end = int(begin), int(end or len(bytes) - 1)
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(bytes)}"
        self.reply(206, bytes[begin : end + 1], headers, chunked=MODE == "nolength")

    def reply(self, status, body, headers={}, chunked=False):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
