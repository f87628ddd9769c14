"""A receiver of apprise's JSON messages: prints each body as one line."""

from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print("RECEIVED", body.decode().replace("\n", " "), flush=True)
        self.send_response(200)
        self.end_headers()


HTTPServer(("0.0.0.0", 9000), Receiver).serve_forever()
