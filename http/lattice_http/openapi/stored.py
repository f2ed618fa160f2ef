"""OpenAI's Responses, and what is kept of them."""

from __future__ import annotations

from .chat_answers import ID, SAID
from .errors import GENERATING
from .headers import ANSWERED, WISHES
from .operation import Answer, Operation, Query, Stream
from .shapes import TEXT, WHOLE, one_of, ref
from .stored_answers import EVENTS

_STREAM = """\
event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1f",\
"output_index":0,"content_index":0,"delta":"Paris","logprobs":[]}

"""
_RESPONSE = {
    "id": "resp_1f",
    "object": "response",
    "created_at": 1770000000,
    "completed_at": 1770000001,
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "model": ID,
    "output": [
        {
            "type": "message",
            "id": "msg_1f",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": SAID, "annotations": [], "logprobs": []}],
        }
    ],
    "instructions": None,
    "max_output_tokens": 20,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "truncation": "disabled",
    "temperature": 0.0,
    "top_p": 1.0,
    "store": True,
    "usage": {
        "input_tokens": 37,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 45,
    },
}
_KEPT = {"response_id": "resp_1f"}

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/responses",
        name="createResponse",
        area="Responses",
        title="Answer, and keep it for the next turn",
        body=ref("ResponsesBody"),
        examples={
            "plain": {
                "model": "auto",
                "input": "What is the capital of France?",
                "max_output_tokens": 20,
            },
            "streamed": {
                "model": "auto",
                "instructions": "Answer in one word.",
                "input": [{"role": "user", "content": "What is the capital of France?"}],
                "max_output_tokens": 20,
                "stream": True,
            },
            "tools": {
                "model": "auto",
                "input": "What time is it?",
                "max_output_tokens": 60,
                "tools": [{"type": "function", "name": "now", "parameters": None}],
                "tool_choice": "required",
            },
            "tools of a coding agent": {
                "model": "auto",
                "input": "Who is Ada?",
                "max_output_tokens": 60,
                "tools": [
                    {"type": "custom", "name": "apply_patch", "description": "Edits files."},
                    {
                        "type": "namespace",
                        "name": "crm",
                        "description": "The customers.",
                        "tools": [{"type": "function", "name": "find", "parameters": None}],
                    },
                    {"type": "web_search"},
                ],
            },
        },
        answers={
            200: Answer(
                "The response.",
                ref("ResponsesAnswer"),
                _RESPONSE,
                stream=Stream(
                    "OpenAI's named events, each with its `sequence_number`; the last one is "
                    "`response.completed`, `response.incomplete` or `response.failed`.",
                    EVENTS,
                    _STREAM,
                ),
                headers=ANSWERED,
            )
        },
        failures=GENERATING,
        headers=WISHES,
    ),
    Operation(
        method="get",
        path="/v1/responses/{response_id}",
        name="getResponse",
        area="Responses",
        title="Tell a response that is kept",
        queries=(
            Query("stream", "Refused: what is over is not streamed again.", one_of("false", "0")),
        ),
        answers={200: Answer("As it was answered.", ref("ResponsesAnswer"), _RESPONSE)},
        failures=(400, 404),
        path_example=_KEPT,
    ),
    Operation(
        method="delete",
        path="/v1/responses/{response_id}",
        name="deleteResponse",
        area="Responses",
        title="Forget a response",
        answers={
            200: Answer(
                "It is gone.",
                ref("ResponsesDeleted"),
                {"id": "resp_1f", "object": "response", "deleted": True},
            )
        },
        failures=(404,),
        path_example=_KEPT,
    ),
    Operation(
        method="get",
        path="/v1/responses/{response_id}/input_items",
        name="listResponseInput",
        area="Responses",
        title="Tell what a response was made of",
        queries=(
            Query("order", "The newest first, unless told.", one_of("asc", "desc")),
            Query("limit", "Items of a page.", {**WHOLE, "minimum": 1, "maximum": 100}),
            Query("after", "The id of the item before the first.", TEXT),
        ),
        answers={
            200: Answer(
                "A page.",
                ref("ResponsesInputItems"),
                {
                    "object": "list",
                    "data": [
                        {
                            "type": "message",
                            "id": "msg_1e",
                            "role": "user",
                            "content": [{"type": "input_text", "text": "hello"}],
                        }
                    ],
                    "first_id": "msg_1e",
                    "last_id": "msg_1e",
                    "has_more": False,
                },
            )
        },
        failures=(400, 404),
        path_example=_KEPT,
    ),
)
