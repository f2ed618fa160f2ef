"""What models there are, and steering what is in memory."""

from __future__ import annotations

from .chat_answers import ID
from .operation import Answer, Operation, Query
from .shapes import (
    COUNT,
    TEXT,
    TRUTH,
    UNIX_S,
    Schema,
    const,
    listing,
    maybe,
    nullable,
    obj,
    one_of,
    ref,
    said,
)

_MODEL = {
    "id": TEXT,
    "object": const("model"),
    "created": UNIX_S,
    "owned_by": said(TEXT, "Where it runs: `mlx`, the name of an upstream, `anthropic`."),
    "kind": one_of("chat", "embedding", "swarm"),
    "context_length": maybe(nullable(COUNT)),
    "state": maybe(
        said(TEXT, "`cold`, `loading`, `ready`, `draining`, `failed`, `unavailable` and so on.")
    ),
}
_RESIDENT = listing(TEXT, "What is in memory now.")
_SHOWN = {
    "id": ID,
    "object": "model",
    "created": 1770000000,
    "owned_by": "mlx",
    "kind": "chat",
    "context_length": 8192,
    "state": "ready",
}

SCHEMAS: dict[str, Schema] = {
    "Model": obj(
        **_MODEL,
        supported_parameters=maybe(listing(TEXT, "What a request may say; of one model alone.")),
    ),
    "ModelList": obj(
        object=const("list"),
        data=listing(ref("Model")),
        unusable=maybe(
            listing(obj(id=TEXT, reason=TEXT), "With `?unusable`: what cannot answer, and why.")
        ),
    ),
    "Unloaded": obj(
        ok=const(True), unloaded=said(TEXT, "Its id."), deferred=const(False), resident=_RESIDENT
    ),
    "UnloadDeferred": obj(
        ok=const(True),
        unloaded={"type": "null"},
        deferred=const(True),
        alias=said(TEXT, "Its id."),
        note=TEXT,
        resident=_RESIDENT,
    ),
    "NotLoaded": obj(ok=const(False), error=ref("ErrorObject"), resident=_RESIDENT),
    "ModelLoaded": obj(ok=const(True), model=TEXT, resident=_RESIDENT),
    "ModelLeaving": obj(ok=const(True), model=TEXT, deferred=TRUTH, resident=_RESIDENT),
    "ModelPinned": obj(ok=const(True), model=TEXT, pinned=listing(TEXT, "All that are pinned.")),
}

_PATH = {"model": ID}
_LOADED = {"ok": True, "model": ID, "resident": [ID]}
_GOING = {"ok": True, "model": ID, "deferred": False, "resident": []}
_PINNED = {"ok": True, "model": ID, "pinned": [ID]}
_DRAINED = (
    "Nothing new begins on it, and it goes when what runs on it has ended; requests that "
    "arrive now wait until it is loaded again. `unload` and `drain` are one."
)


def _steering(
    verb: str, title: str, answers: dict[int, Answer], failures: tuple[int, ...], text: str = ""
) -> Operation:
    return Operation(
        method="post",
        path=f"/v1/models/{{model}}/{verb}",
        name=f"{verb}Model",
        area="Models",
        title=title,
        text=text,
        answers=answers,
        failures=(400, *failures),
        path_example=_PATH,
    )


def _leaving() -> dict[int, Answer]:
    return {
        200: Answer("It is out of memory.", ref("ModelLeaving"), _GOING),
        202: Answer("Answers still run.", ref("ModelLeaving"), {**_GOING, "deferred": True}),
    }


OPERATIONS = (
    Operation(
        method="get",
        path="/v1/models",
        name="listModels",
        area="Models",
        title="List the models there are",
        queries=(
            Query("unusable", "Also what cannot answer, and why.", {}, flag=True),
            Query("meta", "Also the names of swarms.", {}, flag=True),
        ),
        answers={200: Answer("The list.", ref("ModelList"), {"object": "list", "data": [_SHOWN]})},
    ),
    Operation(
        method="get",
        path="/v1/models/{model}",
        name="getModel",
        area="Models",
        title="Tell one model",
        answers={200: Answer("The model.", ref("Model"), _SHOWN)},
        failures=(404,),
        path_example=_PATH,
    ),
    Operation(
        method="delete",
        path="/v1/models/{model}",
        name="deleteModel",
        area="Models",
        title="Unload a model; its files stay",
        answers={
            200: Answer(
                "It is out of memory.",
                ref("Unloaded"),
                {"ok": True, "unloaded": ID, "deferred": False, "resident": []},
            ),
            202: Answer(
                "It goes when what runs on it has ended.",
                ref("UnloadDeferred"),
                {
                    "ok": True,
                    "unloaded": None,
                    "deferred": True,
                    "alias": ID,
                    "note": "The model is unloaded when its running answers have ended.",
                    "resident": [ID],
                },
            ),
            404: Answer(
                "It is not loaded, known or not.",
                ref("NotLoaded"),
                {
                    "ok": False,
                    "error": {
                        "message": f"The model '{ID}' is not loaded.",
                        "type": "invalid_request_error",
                        "param": "model",
                        "code": "model_not_loaded",
                    },
                    "resident": [],
                },
            ),
        },
        failures=(400,),
        path_example=_PATH,
    ),
    _steering(
        "load",
        "Load a model",
        {200: Answer("It is loaded.", ref("ModelLoaded"), _LOADED)},
        (404, 503),
    ),
    _steering("unload", "Let a model leave memory", _leaving(), (404,), _DRAINED),
    _steering("drain", "Let a model leave memory", _leaving(), (404,), _DRAINED),
    _steering(
        "pin",
        "Keep a model in memory",
        {200: Answer("It is pinned.", ref("ModelPinned"), _PINNED)},
        (404,),
        "A pinned model is never evicted. It is not loaded by this.",
    ),
    _steering(
        "unpin",
        "Let a model be evicted again",
        {200: Answer("It is not pinned.", ref("ModelPinned"), {**_PINNED, "pinned": []})},
        (404,),
    ),
)
