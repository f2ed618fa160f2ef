"""One conversation with a model of another server, through lattice-trio: what works, as a row.

    python -m lattice_bench.conversation BASE_URL MODEL NAME

`scripts/bench-peers --check` has it with each of the other servers. Nothing is timed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

TIMEOUT_S = 120.0  # for a model on a busy machine
GONE_S = 30.0  # after one has left, the next is answered
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
}
CHOICES = ("The capital is Rome.", "The capital is Paris.", 'They say "Lyon".')
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}


class Failed(Exception):
    """It did not do what it should."""


def check(happened: object, said: str) -> None:
    """Raise Failed with what was *said* unless it *happened*."""
    if not happened:
        raise Failed(said)


class Conversation:
    """With one model."""

    def __init__(self, client: httpx2.Client, model: str) -> None:
        self._client, self._model = client, model
        self._text = ""  # of the greedy answer

    def row(self) -> dict[str, str]:
        """Return what came of each check, in words."""
        return {name: self._outcome(one) for name, one in self._checks().items()}

    def _checks(self) -> Mapping[str, Callable[[], str]]:
        return {
            "chat": self._chat,
            "stream": self._stream,
            "stop": self._stop,
            "schema": self._schema,
            "choice": self._choice,
            "tools": self._tools,
            "leaving": self._leaving,
        }

    def _outcome(self, one: Callable[[], str]) -> str:
        try:
            return one()
        except (Failed, httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
            return f"FAILED: {error or type(error).__name__}"

    def _body(self, **fields: object) -> dict[str, object]:
        plain = {"model": self._model, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
        return plain | fields

    def _post(self, **fields: object) -> httpx2.Response:
        return self._client.post("/v1/chat/completions", json=self._body(**fields))

    def _answer(self, **fields: object) -> dict[str, Any]:
        response = self._post(**fields)
        check(response.status_code == 200, _refusal(response))
        answer: dict[str, Any] = response.json()
        return answer

    def _chat(self) -> str:
        answer = self._answer()
        self._text = answer["choices"][0]["message"]["content"]
        usage = answer["usage"]
        check(self._text.strip(), "no text")
        check(usage["prompt_tokens"] > 0 < usage["completion_tokens"] <= 24, f"usage {usage}")
        return "yes"

    def _stream(self) -> str:
        texts: list[str] = []
        reasons: list[str] = []
        usage: object = None
        body = self._body(stream=True, stream_options={"include_usage": True})
        with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                piece = json.loads(line[6:])
                check("error" not in piece, str(piece.get("error")))
                usage = piece.get("usage") or usage
                for choice in piece["choices"]:
                    texts.append(choice["delta"].get("content") or "")
                    reasons.append(choice["finish_reason"] or "")
        check("".join(texts) == self._text, "another text than without a stream")
        check(reasons[-1] in ("stop", "length"), f"finish {reasons[-1]!r}")
        check(usage, "no usage")
        return f"yes, {sum(map(bool, texts))} pieces"

    def _stop(self) -> str:
        word = self._text.split()[1]
        answer = self._answer(stop=[word])["choices"][0]
        check(word not in answer["message"]["content"], "it went on")
        check(answer["finish_reason"] == "stop", f"finish {answer['finish_reason']}")
        return "yes"

    def _schema(self) -> str:
        response = self._post(response_format=SCHEMA, max_tokens=48)
        if response.status_code != 200:
            return _refusal(response)
        text = response.json()["choices"][0]["message"]["content"]
        try:
            return "yes" if set(json.loads(text)) == {"city"} else "not kept to"
        except ValueError:
            return "not kept to"

    def _choice(self) -> str:
        response = self._post(guided_choice=CHOICES)
        if response.status_code == 502 and "honour" in response.text:
            return "not kept to, and said so"
        check(response.status_code == 200, _refusal(response))
        text = response.json()["choices"][0]["message"]["content"]
        check(text in CHOICES, "wrote none of them")
        return "yes"

    def _tools(self) -> str:
        forced = {"type": "function", "function": {"name": "get_weather"}}
        response = self._post(tools=[TOOL], tool_choice=forced, max_tokens=48)
        if response.status_code != 200:
            return _refusal(response)
        choice = response.json()["choices"][0]
        calls = choice["message"].get("tool_calls") or ()
        if not calls:
            return "text, no call"
        called = calls[0]["function"]
        check(called["name"] == "get_weather", f"called {called['name']}")
        try:
            return "yes" if set(json.loads(called["arguments"])) == {"city"} else "other arguments"
        except ValueError:  # the model's fault where it was cut off; else somebody's
            return f"a call that is not whole, {choice['finish_reason']}"

    def _leaving(self) -> str:
        body = self._body(stream=True, max_tokens=2000)
        with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
            check(response.status_code == 200, f"status {response.status_code}")
            next(line for line in response.iter_lines() if line.startswith("data: {"))
        response = self._client.post(
            "/v1/chat/completions", json=self._body(max_tokens=1), timeout=GONE_S
        )
        check(response.status_code == 200, _refusal(response))
        return "yes"


def _refusal(response: httpx2.Response) -> str:
    error = response.json().get("error") or {}
    said = f"{response.status_code} {error.get('param') or error.get('code')}"
    return said if response.status_code < 500 else f"{said} ({str(error.get('message'))[:160]})"


def row(name: str, outcomes: Mapping[str, str]) -> str:
    """Return the row of a table."""
    return f"| {name} | {' | '.join(outcomes.values())} |"


def main(arguments: list[str]) -> int:
    """Write the row; 1 where something failed."""
    base_url, model, name = arguments
    key = os.environ.get("LATTICE_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx2.Client(
        base_url=base_url, headers=headers, timeout=TIMEOUT_S, trust_env=False
    ) as client:
        outcomes = Conversation(client, model).row()
    sys.stdout.write(row(name, outcomes) + "\n")
    return int(any(outcome.startswith("FAILED") for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
