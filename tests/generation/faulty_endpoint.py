"""A chat endpoint for tests, on the loopback: a sensible model, and for chosen captions every kind of fault."""

import contextlib
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG_SECONDS = 30


class FaultyEndpoint:
    """Answers after a script.

    Attributes:
        faults: caption → what happens to requests about it, in this order; the last one goes on for ever, and "ok" is a
            sensible answer. A fault is a name of `_Handler.fault_*`, or any other text: the content of the answer, with
            $KEY for the Authorization header.
        latency: seconds before each answer.
        requests: (time, caption, kind) of each request; kind is "paraphrase", "negation", …, "verdict".
        keys: the Authorization headers seen.
        answer: (kind, caption) → content of the "ok" answers.
        structured: whether JSON schemas are taken; where not, a request with one is answered with HTTP 400.
    """

    def __init__(self, faults: dict[str, list[str]] | None = None, latency: float = 0.0, structured: bool = True):
        self.faults = faults or {}
        self.latency = latency
        self.answer: Callable[[str, str], str] = sensible
        self.structured = structured
        self.requests: list[tuple[float, str, str]] = []
        self.keys: set[str] = set()
        self.url = ""
        self.stopping = threading.Event()
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def next_fault(self, caption: str) -> str:
        """What happens to this request about a caption."""
        script = self.faults.get(caption, ["ok"])
        with self._lock:
            self._seen[caption] += 1
            return script[min(self._seen[caption], len(script)) - 1]

    @contextlib.contextmanager
    def running(self) -> Iterator["FaultyEndpoint"]:
        """Serves on a free port within."""
        handler = type("Handler", (_Handler,), {"endpoint": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # clients are killed in some tests
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield self
        finally:
            self.stopping.set()
            server.shutdown()
            server.server_close()
            thread.join()


def sensible(kind: str, caption: str) -> str:
    """What a good model would answer."""
    lowered = caption[:1].lower() + caption[1:]
    answers = {
        "paraphrase": {"text": f"One can see {lowered}"},
        "negation": {"text": f"Nowhere is {lowered}"},
        "hard_negative": {"text": re.sub(r"\bman\b", "woman", caption)},
        "absence": {"text": f"{caption.rstrip('.')}, without a boat."},
        "objects": {"present": "man", "absent": ["boat", "kite"]},
        "verdict": {"verdict": "yes"},
    }
    return json.dumps(answers[kind])


def kind_of(messages: list[dict]) -> str:
    """What a request asks for, told from the package's own prompts."""
    system = messages[0]["content"]
    if "verdict" in system:
        return "verdict"
    if "absent" in system:
        return "objects"
    if "is not there" in system:
        return "absence"
    if "become false" in system:
        return "negation" if "Deny" in system else "hard_negative"
    return "paraphrase"


def caption_of(messages: list[dict]) -> str:
    """The caption of the last question about one: the first JSON string of a user's message."""
    for message in reversed(messages):
        match = re.search(r'(?:Caption|First): ("(?:[^"\\]|\\.)*")', str(message["content"]))
        if message["role"] == "user" and match:
            return json.loads(match[1])
    return ""


class _Handler(BaseHTTPRequestHandler):
    endpoint: FaultyEndpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        endpoint, messages = self.endpoint, request["messages"]
        caption, kind = caption_of(messages), kind_of(messages)
        endpoint.requests.append((time.monotonic(), caption, kind))
        endpoint.keys.add(self.headers.get("Authorization", ""))
        endpoint.stopping.wait(endpoint.latency)
        if "response_format" in request and not endpoint.structured:
            return self.send(400, {"error": {"message": "response_format is not supported"}})
        fault = endpoint.next_fault(caption)
        if fault == "ok":
            return self.send_content(endpoint.answer(kind, caption))
        if handler := getattr(self, f"fault_{fault}", None):
            return handler()
        # The verifier says yes to whatever the rules let pass.
        content = sensible(kind, caption) if kind == "verdict" else fault
        return self.send_content(content.replace("$KEY", self.headers.get("Authorization", "")))

    def send(self, status: int, content: dict | bytes, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_content(self, content: str, finish_reason: str = "stop") -> None:
        choice = {
            "index": 0,
            "finish_reason": finish_reason,
            "message": {"role": "assistant", "content": content},
        }
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self.send(
            200,
            {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage},
        )

    def fault_hang(self) -> None:
        self.endpoint.stopping.wait(HANG_SECONDS)
        self.close_connection = True

    def fault_drip(self) -> None:
        """A byte now and then: a time-out between bytes never comes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        deadline = time.monotonic() + HANG_SECONDS
        while time.monotonic() < deadline and not self.endpoint.stopping.wait(0.2):
            self.wfile.write(b" ")
            self.wfile.flush()
        self.close_connection = True

    def fault_busy(self) -> None:
        self.send(429, {"error": {"message": "slow down"}}, Retry_After="1.5")

    def fault_broken(self) -> None:
        self.send(500, {"error": {"message": f"oops {self.headers.get('Authorization')}"}})

    def fault_half(self) -> None:
        """The stream ends in the middle of what was announced."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"id": "1", "choices": [{"mess')
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def fault_garbage(self) -> None:
        self.send(200, b"<html>gateway</html>")

    def fault_no_choices(self) -> None:
        self.send(200, {"object": "chat.completion", "choices": []})

    def fault_refuse(self) -> None:
        self.send(400, {"error": {"message": f"content filter {self.headers.get('Authorization')}"}})

    def fault_unauthorized(self) -> None:
        self.send(401, {"error": {"message": f"Incorrect API key provided: {self.headers.get('Authorization')}"}})

    def fault_unknown_model(self) -> None:
        self.send(404, {"error": {"message": "model not found"}})

    def fault_cut_off(self) -> None:
        self.send_content('{"text": "A man, a man, a man', finish_reason="length")
