"""Embeddings, and the tokens of prompts."""

from __future__ import annotations

from lattice_http.openai.embeddings import EmbeddingBody
from lattice_http.tokenizing import TokenizeBody

from .chat_answers import HELLO
from .errors import GENERATING
from .fields import FIELDS, RAW
from .headers import ANSWERED, WISHES
from .operation import Answer, Operation
from .shapes import COUNT, NULL, NUMBER, TEXT, Schema, const, either, listing, obj, ref, said
from .structs import Described

ANSWERS: dict[str, Schema] = {
    "EmbeddingList": obj(
        object=const("list"),
        data=listing(
            obj(
                object=const("embedding"),
                index=COUNT,
                embedding=either(listing(NUMBER), said(TEXT, "With `encoding_format` base64.")),
            )
        ),
        model=TEXT,
        usage=obj(prompt_tokens=COUNT, total_tokens=COUNT),
    ),
    "TokenList": obj(
        count=COUNT,
        max_model_len=said(COUNT, "Tokens of the model's context."),
        tokens=listing(COUNT),
        token_strs=NULL,
    ),
}


def described() -> dict[str, Schema]:
    """Return the schemas of this area."""
    return {**Described(raw=RAW, texts=FIELDS).add(EmbeddingBody, TokenizeBody), **ANSWERS}


OPERATIONS = (
    Operation(
        method="post",
        path="/v1/embeddings",
        name="createEmbedding",
        area="Vectors and tokens",
        title="Turn texts into vectors",
        text="Only embedding models answer, and nothing falls back to another one.",
        body=ref("EmbeddingBody"),
        examples={
            "several": {"model": "auto", "input": ["The weather is lovely.", "It is sunny."]},
            "base64": {"model": "auto", "input": "hello", "encoding_format": "base64"},
        },
        answers={
            200: Answer(
                "The vectors.",
                ref("EmbeddingList"),
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
                    "model": "all-MiniLM-L6-v2",
                    "usage": {"prompt_tokens": 7, "total_tokens": 7},
                },
                headers=ANSWERED,
            )
        },
        failures=GENERATING,
        headers=WISHES,
    ),
    Operation(
        method="post",
        path="/tokenize",
        name="tokenize",
        area="Vectors and tokens",
        title="Tell the tokens of a text or a chat",
        text="In vLLM's shape. Nothing is generated, but the model has to be loaded for it.",
        body=ref("TokenizeBody"),
        examples={
            "chat": {"model": "auto", "messages": HELLO},
            "text": {"model": "auto", "prompt": "The capital of France"},
        },
        answers={
            200: Answer(
                "The tokens.",
                ref("TokenList"),
                {
                    "count": 4,
                    "max_model_len": 8192,
                    "tokens": [504, 3575, 282, 4649],
                    "token_strs": None,
                },
                headers=ANSWERED,
            )
        },
        failures=GENERATING,
        headers=WISHES,
    ),
)
