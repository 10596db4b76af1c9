"""The demo app: a friendly page that says which release and unit answered.

It needs Python's standard library alone. It shows what a well-behaved web process does on Trireme: it listens on
PORT, keeps connections open, and on SIGTERM takes no new work, finishes what is in flight, and ends.
"""

import html
import os
import select
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LONGEST_WAIT_MS = 60_000
IDLE_SECONDS = 75

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Trireme demo</title>
<style>
  body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 12vh auto; padding: 0 1rem; color: #1c2a39 }}
  code {{ background: #eef2f6; padding: .1em .4em; border-radius: .3em }}
</style>
<h1>{greeting}</h1>
<p>Release <code>{release}</code> answered from <code>{unit}</code>.</p>
<p>Change the greeting: <code>paasctl config:set GREETING="Ahoy"</code></p>
</html>
"""


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address):
        super().__init__(address, Handler)
        self.lock = threading.Lock()
        self.connections = set()
        self.is_stopping = False

    def stop(self):
        """Takes no new connections, lets requests in flight finish, and closes idle connections."""
        with self.lock:
            self.is_stopping = True
            for connection in self.connections:
                # Ends the wait for a next request; one that has arrived is still read and answered.
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    pass  # the client was faster
        self.shutdown()

    def accept_waiting(self):
        """Answers connections that the kernel accepted before the end."""
        while select.select([self], [], [], 0)[0]:
            self.handle_request()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "trireme-demo"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    wbufsize = 64 * 1024  # head and body leave in one packet

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections.add(self.connection)

    def finish(self):
        with self.server.lock:
            self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/":
            self.answer(200, "text/html", page())
        elif url.path == "/health":
            self.answer(200, "text/plain", "ok\n")
        elif url.path == "/slow":
            self.answer_slowly(url.query)
        else:
            self.answer(404, "text/plain", "There is nothing here. Try / or /health or /slow?ms=500\n")

    do_HEAD = do_GET

    def answer_slowly(self, query):
        wait_ms = parse_qs(query).get("ms", ["1000"])[0]
        if not (wait_ms.isascii() and wait_ms.isdigit() and len(wait_ms) <= 6 and int(wait_ms) <= LONGEST_WAIT_MS):
            self.answer(400, "text/plain", f"ms is a number from 0 to {LONGEST_WAIT_MS}\n")
            return
        time.sleep(int(wait_ms) / 1000)
        self.answer(200, "text/plain", f"{release()} waited {int(wait_ms)} ms\n")

    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.server.is_stopping:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *arguments):
        print(self.address_string(), format % arguments, flush=True)


def release():
    return os.environ.get("TRIREME_RELEASE", "no release")


def page():
    values = {
        "greeting": os.environ.get("GREETING", "Hello from Trireme"),
        "release": release(),
        "unit": os.environ.get("TRIREME_UNIT", socket.gethostname()),
    }
    return PAGE.format(**{name: html.escape(value) for name, value in values.items()})


def main():
    port = int(os.environ.get("PORT", "5000"))
    server = Server(("0.0.0.0", port))
    # In a thread: stop() waits for the loop that the signal interrupts.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.stop).start())
    print(f"listening on port {port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.accept_waiting()
    server.server_close()
    print("every request is answered, good night", flush=True)


if __name__ == "__main__":
    main()
