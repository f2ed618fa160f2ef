"""The reference of all routes: complete, valid, and its examples are examples of it."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from openapi_spec_validator import OpenAPIV31SpecValidator
from trio.testing import MockClock

from lattice_actors.settings import Settings
from lattice_http.app import make_app
from lattice_http.cli import parts
from lattice_http.gateway import Gateway
from lattice_http.openapi.document import OPERATIONS, document, schemas
from lattice_http.openapi.structs import Described
from tests.actors.house import open_house
from tests.http_layer.openapi_schemas import complaints, events, operations, resolved
from tests.http_layer.test_answers_over_asgi import Answered, Client

ROUTES = {(operation.method, operation.path) for operation in OPERATIONS}
WHOLE = document(ROUTES)


@asynccontextmanager
async def open_site(**changed: Any) -> AsyncIterator[Client]:  # noqa: ANN401 - settings
    """Open an app with all routes."""
    settings = Settings(**changed)
    async with open_house() as house:
        gateway, policy = Gateway(house.lattice, settings), parts.security(settings)
        desk = parts.dashboard(house.lattice, settings, policy, trio.Event())
        yield Client(make_app(gateway, policy, desk), house, gateway)


async def told(client: Client) -> Answered:
    """Ask for the reference. It is made in a thread, in which time this clock jumps on."""
    return await client.send("GET", "/openapi.json", leave_after_s=math.inf)


# --- complete --------------------------------------------------------------------------------


async def test_what_is_served_is_described_and_nothing_else(autojump_clock: MockClock) -> None:
    async with open_site() as client:
        shown = (await told(client)).body
        app: Any = client.app
        served = {
            (method.lower(), re.sub(r"<(\w+:)?(\w+)>", r"{\2}", rule.rule))
            for rule in app._app._app.url_map.iter_rules()
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }

    assert {(method, path) for method, path, _ in operations(shown)} == served == ROUTES
    assert shown == WHOLE


async def test_without_the_dashboard_its_routes_are_not_described(
    autojump_clock: MockClock,
) -> None:
    async with open_site(dashboard=False) as client:
        paths = (await told(client)).body["paths"]
        gone = await client.send("GET", "/dashboard/api/config")

    assert gone.status == 404
    assert "/v1/plan" in paths
    assert not [path for path in paths if path.startswith("/dashboard")]


async def test_it_needs_no_key_and_the_answer_has_the_usual_headers(
    autojump_clock: MockClock,
) -> None:
    async with open_site(api_key="secret") as client:
        answered = await told(client)
        closed = await client.send("GET", "/v1/models")

    assert (answered.status, closed.status) == (200, 401)
    assert answered.headers["content-type"] == "application/json"
    assert answered.headers["x-content-type-options"] == "nosniff"


async def test_the_described_need_of_a_key_is_the_true_one(autojump_clock: MockClock) -> None:
    async with open_site(api_key="secret") as client:
        for method, path, operation in operations(WHOLE):
            if path == "/dashboard/ws":
                continue  # a socket: it asks for the key itself
            named = path.format(**dict.fromkeys(PARAMETERS, "1"))
            answered = await client.send(method.upper(), named, leave_after_s=math.inf)
            assert (answered.status == 401) is ("security" not in operation), (method, path)


PARAMETERS = ("model", "session", "branch", "response_id", "request_id", "name")


# --- valid -----------------------------------------------------------------------------------


def test_it_is_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(WHOLE).iter_errors()] == []


def test_names_of_operations_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in operations(WHOLE)]

    assert sorted(set(names)) == sorted(names)


def test_nothing_is_described_that_nobody_refers_to() -> None:
    text = msgspec.json.encode(WHOLE).decode()
    apart = {"SocketMessage"}  # named in a description: OpenAPI knows no sockets

    unused = [
        f"{kind}/{name}"
        for kind in ("schemas", "headers", "parameters", "responses")
        for name in WHOLE["components"][kind]
        if f'"#/components/{kind}/{name}"' not in text and name not in apart
    ]

    assert unused == []


def fields_of_bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Schema, field and its description, of what requests may say at the top."""
    for _, _, operation in operations(WHOLE):
        if "requestBody" in operation:
            [content] = operation["requestBody"]["content"].values()
            for part in content["schema"].get("anyOf", [content["schema"]]):
                name = part["$ref"].rpartition("/")[2]
                for field, schema in resolved(WHOLE, part)["properties"].items():
                    yield name, field, schema


def test_every_field_of_a_body_is_explained() -> None:
    silent = {
        f"{name}.{field}"
        for name, field, schema in fields_of_bodies()
        if "description" not in schema
        and not any("description" in part for part in schema.get("anyOf", ()))
    }

    assert silent == set()


def test_a_struct_with_a_type_that_has_no_schema_is_noticed() -> None:
    class Strange(msgspec.Struct):
        when: set[bytes]

    with pytest.raises(TypeError, match="no schema"):
        Described().add(Strange)


def test_two_meanings_of_one_name_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from lattice_http.openapi import errors

    monkeypatch.setitem(errors.SCHEMAS, "Usage", {"type": "string"})

    with pytest.raises(ValueError, match="two schemas are called Usage"):
        schemas()


# --- examples --------------------------------------------------------------------------------


def examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Where it stands, its schema, the example."""
    for method, path, operation in operations(WHOLE):
        place = f"{method} {path}"
        for parameter in operation.get("parameters", ()):
            shown = resolved(WHOLE, parameter)
            if "example" in shown:
                yield f"{place} {shown['name']}", shown["schema"], shown["example"]
        bodies = operation.get("requestBody", {}).get("content", {})
        for content in bodies.values():
            for name, example in content["examples"].items():
                yield f"{place} {name}", content["schema"], example["value"]
        for status, response in operation["responses"].items():
            for media, content in resolved(WHOLE, response).get("content", {}).items():
                if media == "text/event-stream":
                    for name, event in events(content["example"]):
                        yield f"{place} {status} {name}", content["x-events"][name], event
                elif "example" in content:
                    yield f"{place} {status}", content["schema"], content["example"]


def test_every_example_is_what_its_schema_says() -> None:
    shown = list(examples())

    wrong = {
        place: found
        for place, schema, example in shown
        if (found := complaints(WHOLE, schema, example))
    }

    assert wrong == {}
    assert len(shown) > 200


def test_every_body_has_an_example() -> None:
    without = [
        path
        for _, path, operation in operations(WHOLE)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if not content["examples"]
    ]

    assert without == []


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("ChatBody", {"messages": []}),
        ("ChatBody", {"messages": [{"role": "user", "content": "x"}], "n": 0}),
        ("ChatBody", {"messages": [{"role": "user", "content": [{"type": "sound"}]}]}),
        ("ChatBody", {"messages": [{"role": "user", "content": "x"}], "stop": [""]}),
        ("AnthropicMessagesBody", {"model": "a", "messages": [{"role": "user", "content": "x"}]}),
        ("ResponsesBody", {"input": [{"type": "reasoning", "summary": "x"}]}),
        ("VoteBody", {"models": [], "messages": []}),
    ],
)
def test_a_body_that_is_refused_is_not_what_the_schema_says(schema: str, value: object) -> None:
    assert complaints(WHOLE, {"$ref": f"#/components/schemas/{schema}"}, value)
