"""The whole document, of the routes that an app has."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lattice_actors.release import VERSION

from . import (
    chat_answers,
    chats,
    dashboard,
    errors,
    messages,
    models,
    operating,
    stored,
    stored_answers,
    swarm_answers,
    swarms,
    vectors,
)
from .headers import header_components, parameter_components
from .operation import Operation
from .routes import Route
from .shapes import Schema

OPERATIONS: tuple[Operation, ...] = (
    *chats.OPERATIONS,
    *stored.OPERATIONS,
    *messages.OPERATIONS,
    *vectors.OPERATIONS,
    *swarms.OPERATIONS,
    *models.OPERATIONS,
    *operating.OPERATIONS,
    *dashboard.OPERATIONS,
)
AREAS = {
    "Chats": "OpenAI's chats and completions.",
    "Responses": "OpenAI's Responses.",
    "Anthropic": "Anthropic's Messages.",
    "Vectors and tokens": "Embeddings, and the tokens of prompts.",
    "Swarms": "Several models, one answer.",
    "Models": "What there is, and what is in memory.",
    "Scheduling": "Plan, queue, state.",
    "Health": "Is it alive, and how is it doing.",
    "Dashboard": "The page and what it reads. Absent where the dashboard is off.",
}
ABOUT = (
    "One OpenAI-compatible server in front of all the models a person has. Errors of all routes "
    "have one shape (`Error`; on Anthropic's routes `AnthropicError`). Answers of streams are "
    "`text/event-stream`; `x-events` beside their schema has the schema of the JSON of each "
    "event, by its name (`data`: those without a name). Every answer has `x-request-id`; "
    "the other headers are there where they have something to say. A body over 10 MiB is a 413, "
    "an address over 8 KiB a 414, headers over 32 KiB a 431; other methods are a 405 with `Allow`."
)


def schemas() -> dict[str, Schema]:
    """Return all schemas by name. A name has one meaning, or it raises ValueError."""
    found: dict[str, Schema] = {}
    for area in (
        errors.SCHEMAS,
        chat_answers.described(),
        stored_answers.described(),
        messages.described(),
        vectors.described(),
        swarm_answers.described(),
        models.SCHEMAS,
        operating.SCHEMAS,
        dashboard.SCHEMAS,
    ):
        for name, schema in area.items():
            if found.setdefault(name, schema) != schema:
                raise ValueError(f"two schemas are called {name}")
    return dict(sorted(found.items()))


def document(routes: Collection[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of *routes*; operations that are not among them are left out."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        if (operation.method, operation.path) in routes:
            paths.setdefault(operation.path, {})[operation.method] = operation.written()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lattice-trio",
            "version": VERSION,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"header": []}],
        "tags": [{"name": name, "description": text} for name, text in AREAS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": errors.responses(),
            "headers": header_components(),
            "parameters": parameter_components(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The server's key, where it has one (`LATTICE_API_KEY`).",
                },
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
