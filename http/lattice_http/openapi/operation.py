"""One route as the reference tells of it, and how that is written in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .headers import ANSWER_HEADERS, header_refs, parameter_refs
from .shapes import Schema

JSON = "application/json"
EVENTS = "text/event-stream"
PATH_TEXTS = {
    "model": "An id as in `GET /v1/models`. Slashes in it stay as they are, or are `%2F`.",
    "session": "As in `X-Swarm-Session`, `swarm_<hex>`.",
    "branch": "The number of the branch, from 0.",
    "response_id": "`resp_<hex>`, as answered.",
    "request_id": "The `x-request-id` of a request that waits or is being answered.",
    "name": "A file of the page.",
}


@attrs.frozen
class Stream:
    """Server-sent events: the schema of the JSON of each; "data" is those without a name."""

    text: str
    events: Mapping[str, Schema]
    example: str


@attrs.frozen
class Answer:
    """One status."""

    text: str
    schema: Schema | None = None
    example: Any = None
    media: str = JSON
    stream: Stream | None = None
    headers: Sequence[str] = ()  # names in `ANSWER_HEADERS`; those of every answer besides


@attrs.frozen
class Query:
    """A parameter behind the question mark."""

    name: str
    text: str
    schema: Schema
    flag: bool = False  # its presence says it; it needs no value


@attrs.frozen(kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str  # "/v1/models/{model}"
    name: str  # of the operation: generated clients call their functions so
    area: str
    title: str
    text: str = ""
    body: Schema | None = None
    examples: Mapping[str, Any] = attrs.field(factory=dict[str, Any])  # of bodies, by name
    answers: Mapping[int, Answer]
    failures: Sequence[int] = ()  # statuses with an error object, beside those of all routes
    queries: Sequence[Query] = ()
    headers: Sequence[str] = ()  # names in `REQUEST_HEADERS`
    needs_key: bool = True
    anthropic: bool = False  # its errors have Anthropic's shape
    path_example: Mapping[str, str | int] = attrs.field(factory=dict[str, "str | int"])

    def written(self) -> Schema:
        """Return the operation object."""
        parameters = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": PATH_TEXTS[name],
                "schema": {"type": "integer" if isinstance(example, int) else "string"},
                "example": example,
            }
            for name, example in self.path_example.items()
        ]
        parameters += [_query(query) for query in self.queries]
        parameters += parameter_refs(self.headers)
        shown: Schema = {
            "operationId": self.name,
            "tags": [self.area],
            "summary": self.title,
        }
        if self.text:
            shown["description"] = self.text
        if parameters:
            shown["parameters"] = parameters
        if self.body is not None:
            examples = {name: {"value": value} for name, value in self.examples.items()}
            content = {"schema": self.body, "examples": examples}
            shown["requestBody"] = {"required": True, "content": {JSON: content}}
        shown["responses"] = self._responses()
        if not self.needs_key:
            shown["security"] = []
        return shown

    def _responses(self) -> Schema:
        shown = {str(status): _answer(answer) for status, answer in self.answers.items()}
        failures = {*self.failures, 403, *((401,) if self.needs_key else ())}
        if self.body is not None:
            failures |= {400, 408, 413, 415}
        shape = "Anthropic" if self.anthropic else ""
        for status in sorted(failures - self.answers.keys()):
            shown[str(status)] = {"$ref": f"#/components/responses/{shape}{status}"}
        return dict(sorted(shown.items()))


def _answer(answer: Answer) -> Schema:
    content: Schema = {}
    if answer.schema is not None:
        content[answer.media] = {"schema": answer.schema}
        if answer.example is not None:
            content[answer.media]["example"] = answer.example
    if answer.stream is not None:
        content[EVENTS] = {
            "schema": {"type": "string", "description": answer.stream.text},
            "example": answer.stream.example,
            "x-events": dict(answer.stream.events),
        }
    assert set(answer.headers) <= set(ANSWER_HEADERS), answer.headers
    shown: Schema = {"description": answer.text, "headers": header_refs(answer.headers)}
    return shown | ({"content": content} if content else {})


def _query(query: Query) -> Schema:
    shown: Schema = {
        "name": query.name,
        "in": "query",
        "description": query.text,
        "schema": query.schema,
    }
    return shown | ({"allowEmptyValue": True} if query.flag else {})
