"""A little OpenAI-compatible server, run as a process: `little.py PORT [--deaf] [--unwell] [--brood] [--once FILE]`."""

# ruff: noqa: T201  (what it prints is for the log of whoever started it)

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORDS = ("한국어 ", "and ", "🙂")

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--deaf", action="store_true", help="doesn't hear SIGTERM")
parser.add_argument("--unwell", action="store_true", help="its /health never answers well")
parser.add_argument("--brood", action="store_true", help="starts a process in a session of its own")
parser.add_argument("--once", help="exits at its start where this file is")
asked = parser.parse_args()

brood = []
jobs = []


class Calls(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match self.path:
            case "/health":
                self._answer({}, 503 if asked.unwell else 200)
            case "/who":
                says = {name: os.environ.get(name) for name in ("SAYS", "CUDA_VISIBLE_DEVICES")}
                brood_pid = brood[0].pid if brood else None
                self._answer(
                    {"pid": os.getpid(), "port": asked.port, "brood": brood_pid, "cwd": str(Path.cwd()), **says}
                )
            case "/jobs/7":
                jobs.append("asked")
                done = len(jobs) > 2
                self._answer({"state": "done", "text": "한국어"} if done else {"state": "running"})
            case _:
                self._answer({"error": "no such path"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path:
            case "/die":
                os._exit(body["status"])
            case "/jobs":
                jobs.clear()
                self._answer({"id": 7}, 202)
            case "/v1/chat/completions":
                self._stream(dies=body.get("dies", False), cuts=body.get("cuts", False))
            case "/endless":
                self._endless(dies=body.get("dies", False))
            case _:
                self._answer({"error": "no such path"}, 404)

    def _answer(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, dies: bool, cuts: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in WORDS:
            chunk = {"choices": [{"index": 0, "delta": {"content": word}}]}
            self._give(f"data: {json.dumps(chunk)}\n\n".encode())
            if dies:
                print("out of memory", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        if not cuts:
            self._give(b"data: [DONE]\n\n")
        self._give(b"")

    def _endless(self, dies: bool) -> None:
        """Answer without a word about where the answer ends."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        for word in WORDS:
            self.wfile.write(word.encode())
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)

    def _give(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def log_message(self, format: str, *words: object) -> None:
        print(format % words)


if asked.once and Path(asked.once).exists():
    print("Traceback: no such model")
    sys.exit(1)
if asked.deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
if asked.brood:
    brood.append(
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"], start_new_session=True)
    )
print("little server starts")
server = ThreadingHTTPServer((asked.host, asked.port), Calls)
server.daemon_threads = True
server.serve_forever()
print("little server stops")
