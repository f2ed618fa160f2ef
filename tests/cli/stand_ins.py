"""Other servers as they answer, on real sockets in threads: a command runs a Trio of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answers = Mapping[str, object]  # by path; a text is sent as it is

CHAT = "".join(
    f"data: {json.dumps(event)}\n\n"
    for event in (
        {"choices": [{"index": 0, "delta": {"content": "hi there"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )
)


def listed(*names: str, **fields: object) -> dict[str, object]:
    """A list of models as OpenAI has it."""
    return {"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]}


LM_STUDIO: Answers = {
    "/v1/models": listed(
        "qwen2.5-coder-7b-instruct",
        "mistral-nemo",
        "text-embedding-nomic-embed-text-v1.5",
        owned_by="organization_owner",
    ),
    "/api/v0/models": {
        "data": [
            {"id": "qwen2.5-coder-7b-instruct", "state": "not-loaded", "type": "llm"},
            {"id": "mistral-nemo", "state": "loaded", "type": "llm"},
        ]
    },
    "": {"error": "Unexpected endpoint or method."},  # its 200 for every other path
}
OLLAMA: Answers = {
    "/v1/models": listed("llama3.2:3b", "deepseek-r1:70b", "all-minilm:22m", owned_by="library"),
    "/api/tags": {
        "models": [
            {"name": "llama3.2:3b", "details": {"family": "llama"}},
            {"name": "deepseek-r1:70b", "details": {"family": "llama"}},
            {"name": "all-minilm:22m", "details": {"family": "bert"}},
        ]
    },
    "/api/ps": {"models": [{"name": "deepseek-r1:70b"}]},
}
LLAMA_CPP: Answers = {
    "/v1/models": listed("gemma-3-12b.gguf", owned_by="llamacpp"),
    "/props": {"default_generation_settings": {}, "total_slots": 4},
    "/health": {"status": "ok"},
}
MLX_LM: Answers = {
    "/v1/models": listed("mlx-community/phi-4", "/models/big"),
    "/health": {"status": "ok"},
}
MLX_LM_WITHOUT_CACHE: Answers = {"/v1/models": "", "/health": {"status": "ok"}}
VLLM: Answers = {"/v1/models": listed("org/qwen3-32b", owned_by="vllm")}


@contextmanager
def stand_in(
    answers: Answers,
    says_it_is: str = "",
    status: int = 200,
    heard: list[tuple[str, str]] | None = None,
) -> Iterator[str]:
    """Run a server with these *answers*, and a chat; yield its address.

    Paths that were asked for, and the keys that came along, are added to *heard*.
    """

    class Handler(BaseHTTPRequestHandler):
        def version_string(self) -> str:
            return says_it_is or "BaseHTTP/0.6 Python/3.11"

        def do_GET(self) -> None:
            if heard is not None:
                key = self.headers.get("Authorization") or self.headers.get("X-Api-Key") or ""
                heard.append((self.path, key))
            known = answers.get(self.path, answers.get(""))
            text = known if isinstance(known, str) else json.dumps(known)
            self._send(404 if known is None else status, text, "application/json")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send(200, CHAT + "data: [DONE]\n\n", "text/event-stream")

        def _send(self, code: int, text: str, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *said: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
