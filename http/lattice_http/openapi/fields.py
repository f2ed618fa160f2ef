"""What the fields of bodies mean, by name or by struct and name; and what raw fields hold.

Values only.
"""

from __future__ import annotations

from .shapes import Schema, either, listing, mapping, nullable, ref

NOT_HONOURED = "Known and not honoured: refused by name unless it is neutral or null."
TOKENS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
TEXTS: Schema = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
ANY_PROMPT: Schema = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        TEXTS,
        TOKENS,
        {"type": "array", "items": TOKENS, "minItems": 1},
    ]
}
CHOICE_WORDS: Schema = {"enum": ["none", "auto", "required"]}

# Fields that are decoded later than the body: `Raw` in the structs.
RAW: dict[str, Schema] = {
    "logit_bias": nullable(mapping({"type": "number", "minimum": -100, "maximum": 100})),
    "guided_json": {"type": ["object", "string", "null"]},
    "swarm": nullable(ref("SwarmOptions")),
    "tools": nullable({"type": "array", "items": ref("Tool"), "maxItems": 128}),
    "tool_choice": either(CHOICE_WORDS, ref("NamedTool"), {"type": "null"}),
    "chat_template_kwargs": {"type": ["object", "null"]},
    "prompt": ANY_PROMPT,
    "input": ANY_PROMPT,
    "messages": {"type": "array", "items": ref("Message"), "minItems": 1},
    "AgentBody.messages": nullable({"type": "array", "items": ref("Message"), "minItems": 1}),
    "TokenizeBody.messages": nullable({"type": "array", "items": ref("Message"), "minItems": 1}),
    "schema": {"type": "object"},
    "parameters": {"type": ["object", "null"]},
    "functions": {"type": ["array", "null"]},
    "function_call": {"type": ["string", "object", "null"]},
}

ANTHROPIC_RAW: dict[str, Schema] = {
    "input_schema": {"type": ["object", "null"]},
    "schema": {"type": "object"},
    "mcp_servers": {"type": ["array", "null"]},
}

RESPONSES_RAW: dict[str, Schema] = {
    "input": either({"type": "string"}, listing(ref("ResponsesItem"))),
    "schema": {"type": ["object", "null"]},
    "parameters": {"type": ["object", "null"]},
    "tools": nullable({"type": "array", "items": ref("ResponsesTool"), "maxItems": 128}),
    "NamespaceForm.tools": {"type": "array", "items": ref("ResponsesTool"), "maxItems": 128},
    "NamedTool.tools": listing({"type": "object"}),
    "tool_choice": either(CHOICE_WORDS, ref("ResponsesNamedTool"), {"type": "null"}),
}

_SPEC = (
    "What is wanted: an id or a part of one, `role:coder`, `qwen*`, a list in the order of "
    "preference, `auto`. Absent: the server's default."
)

FIELDS: dict[str, str] = {
    "model": _SPEC,
    "messages": "The conversation, oldest first.",
    "max_tokens": "The most tokens of an answer. Above the ceiling it is lowered.",
    "max_completion_tokens": "The same by its newer name, which wins.",
    "temperature": "0 takes the likeliest token. Absent: the model's profile says.",
    "top_p": "Only the likeliest tokens that have this share together.",
    "top_k": "Only so many of the likeliest tokens; 0: all.",
    "min_p": "Only tokens with this share of the likeliest one's probability.",
    "seed": "Equal seeds draw equal tokens. Answer `i` of several has `seed + i`.",
    "stop": "Texts that end the answer and are not part of it, up to 4.",
    "stream": "Answer with server-sent events.",
    "stream_options": "Only together with `stream`.",
    "include_usage": "The last chunk tells the usage.",
    "presence_penalty": "Subtracted once from every token that is in the answer.",
    "frequency_penalty": "Subtracted for each time a token is in the answer.",
    "repetition_penalty": "Divides the logit of tokens in prompt or answer; 1 is off.",
    "logit_bias": "Added to the logits of tokens, by id. Up to 1024 of them.",
    "n": "So many answers to each prompt.",
    "response_format": "What the answer keeps to.",
    "guided_json": "JSON of this schema (an object, or the same as text).",
    "guided_regex": "A match of the whole expression (Rust's syntax).",
    "guided_choice": "One of these texts.",
    "guided_grammar": "A sentence of this Lark or GBNF grammar.",
    "best_of": "Only as many as are returned.",
    "queue": "What is wished about waiting; it wins over the headers.",
    "swarm": "How a swarm is asked; only with the name of a swarm as the model.",
    "tools": "Functions that the model may call.",
    "tool_choice": "`auto`, `none`, `required`, or one function.",
    "parallel_tool_calls": "False: the answer ends with its first call.",
    "chat_template_kwargs": "Arguments of the model's chat template.",
    "reasoning_effort": "For models that reason; what a level means is up to the template.",
    "logprobs": "Tell the log-probabilities of the tokens.",
    "top_logprobs": "With so many likeliest tokens beside each.",
    "modalities": "Only `text`.",
    "suffix": NOT_HONOURED,
    "echo": NOT_HONOURED,
    "functions": "Refused: send `tools`.",
    "function_call": "Refused: send `tool_choice`.",
    "audio": NOT_HONOURED,
    "prediction": NOT_HONOURED,
    "web_search_options": NOT_HONOURED,
    "moderation": NOT_HONOURED,
    "prompt": "A text, a list of texts, token ids, or a list of such lists.",
    "priority": "Above 0 is interactive, below 0 batch; clamped to -10..10.",
    "max_queue_wait_ms": "The longest wait for a turn; 0 is now or never.",
    "deadline_ms": "From now (more than 3,000,000,000: Unix time in milliseconds).",
    "role": "Who says it. `developer` is `system`, `function` is `tool`.",
    "content": "A text, or parts.",
    "name": "What it is called.",
    "description": "What it is for; the model reads it.",
    "parameters": "The JSON schema of the arguments, an object's.",
    "strict": "Hold calls to the schema.",
    "schema": "A JSON schema.",
    "Message.name": "Who says it, by name.",
    "tool_calls": "What the assistant called, in the history.",
    "tool_call_id": "Of a tool's result: the call it answers.",
    "Message.function_call": "How functions were called before there were tools; history.",
    "reasoning_content": "What the assistant thought, in the history.",
    "reasoning": "The same by its other name.",
    "arguments": "JSON, as text.",
    # embeddings and tokenize
    "EmbeddingBody.input": "A text, up to 2,048 texts, token ids, or a list of such lists.",
    "encoding_format": "`base64`: little-endian float32.",
    "dimensions": "Shorter vectors, from models that were made for it.",
    "truncate": "Cut texts that are too long; otherwise they are a 400.",
    "EmbeddingBody.stream": "Refused: vectors come at once.",
    "TokenizeBody.prompt": "A text, as it is. Either this or `messages`.",
    "TokenizeBody.messages": "A chat, as its model would read it.",
    "add_special_tokens": "Of a text: what the tokenizer begins with. Default true.",
    "add_generation_prompt": "Of a chat: end where the answer begins. Default true.",
    "continue_final_message": NOT_HONOURED,
    "return_token_strs": NOT_HONOURED,
    # swarms
    "models": "Names and objects, or one token: `auto`, `loaded`, `available`, `preset:NAME`.",
    "samples": "So many answers of this model; their seeds differ.",
    "system": "Replaces the system messages.",
    "AgentBody.messages": "Replaces the messages.",
    "AgentBody.timeout": "Seconds for this agent.",
    "timeout": "Seconds for all branches together.",
    "quorum": "So many answers are enough; the others are cancelled.",
    "max_parallel": "The most branches asked at once.",
    "strategy": "`best-of-n`, `first-success`, `longest`, `majority`, `synthesis`; in a chat "
    "also `fanout`.",
    "judge": "The model that judges.",
    "judge_system": "What the judge is told.",
    "rationale": "The judge also says why.",
    "steps": "One after the other.",
    "StepBody.name": "For `{{name}}` in later steps. Absent: `step_1` and so on.",
    "user": "What this step is asked; absent: the messages of the request. `{{previous}}` is the "
    "output of the step before.",
    "rounds": "Default 2.",
    "events": "The stream also has the named events of the branches.",
    # structs
    "ChatBody": "A field that is not here has no effect, and is listed as ignored.",
    "CompletionBody": "A field that is not here has no effect, and is listed as ignored.",
    "EmbeddingBody": "A field that is not here has no effect, and is listed as ignored.",
    "TokenizeBody": "With `messages` the other fields of a chat are read as well.",
    "FanoutBody": "Beside these the fields of a chat that say how to answer.",
    "QueueBody": "Integers may be strings.",
    "JsonSchema": "A schema is kept to, strict or not.",
}

ANTHROPIC_FIELDS: dict[str, str] = {
    **{name: FIELDS[name] for name in ("model", "messages", "temperature", "top_p", "top_k")},
    "MessagesBody": "A field that is not here has no effect, and is listed as ignored.",
    "max_tokens": "Lowered to what the ceiling and the context leave.",
    "system": "The system prompt.",
    "stop_sequences": "Texts that end the answer, up to 16.",
    "stream": "Answer with server-sent events.",
    "tools": "The caller's own tools, up to 512. Tools that run at Anthropic are refused.",
    "tool_choice": "Whether a tool has to be called.",
    "thinking": "`disabled` tells the template not to think.",
    "budget_tokens": "No effect; listed as ignored.",
    "effort": "No effect; listed as ignored.",
    "output_config": "What the answer keeps to.",
    "output_format": "`output_config.format` by its old name.",
    "format": "What the answer keeps to.",
    "mcp_servers": NOT_HONOURED,
    "container": NOT_HONOURED,
    "thread": NOT_HONOURED,
    "input_schema": "The JSON schema of the tool's input, an object's.",
    "disable_parallel_tool_use": "True: one call at the most.",
}

RESPONSES_FIELDS: dict[str, str] = {
    **{name: FIELDS[name] for name in ("model", "temperature", "top_p", "stream")},
    "ResponsesBody": "A field that is not here has no effect, and is listed as ignored.",
    "input": "A text, or the items of a conversation.",
    "instructions": "The system prompt, of this response alone.",
    "max_output_tokens": "The most tokens of the answer.",
    "tools": "Functions that the model may call.",
    "tool_choice": FIELDS["tool_choice"],
    "parallel_tool_calls": FIELDS["parallel_tool_calls"],
    "text": "What the answer keeps to.",
    "verbosity": "No effect; listed as ignored.",
    "reasoning": "For models that reason.",
    "effort": FIELDS["reasoning_effort"],
    "summary": "Reasoning is told as its summary: the same text.",
    "generate_summary": "The old name of `summary`.",
    "truncation": "`auto` drops the oldest turns where they do not fit; `disabled` refuses.",
    "store": "Keep it for `previous_response_id`; the default.",
    "previous_response_id": "Go on from this response.",
    "metadata": "Told again in the response.",
    "include": "No effect; listed as ignored.",
    "background": NOT_HONOURED,
    "top_logprobs": NOT_HONOURED,
    "conversation": NOT_HONOURED,
    "moderation": NOT_HONOURED,
    "prompt": NOT_HONOURED,
    "context_management": NOT_HONOURED,
    "background_options": NOT_HONOURED,
}
