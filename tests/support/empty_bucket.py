"""A bucket without files, which speaks as much of S3's protocol as a plan needs: nothing is there yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

LISTED = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix></Prefix>
<KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"""


class Answers(BaseHTTPRequestHandler):
    """The bucket exists, no file does."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Of the bucket or of a file."""
        path = self.path.partition("?")[0].strip("/")
        self.send_response(404 if "/" in path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        """A list of the files."""
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(LISTED)))
        self.end_headers()
        self.wfile.write(LISTED)

    def log_message(self, *_: object) -> None:
        """Nothing is printed between pytest's lines."""


@contextmanager
def empty_bucket() -> Iterator[str]:
    """The address of the bucket's server, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
