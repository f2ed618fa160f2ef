"""From a `Gen` frame to token ids, or to a refusal that names what is wrong. Imports no mlx.

Runs on the engine's tokenising thread: a megabyte of text takes the better part of a second.
Nothing that passes here can hurt the model: mlx-lm does not check ids, and one far outside the
vocabulary ends the process with SIGSEGV.
"""

from __future__ import annotations

import enum
import math
import secrets
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec

from .context import KEPT_ROLES, Context, Message, Refusal, trimmings
from .detokenizing import Detokenizer
from .frames import Gen, Refused
from .parts import Reading
from .prefixes import common_prefix, ids_of
from .speech import Speech, SpeechProblem, SpokenTokenizer

if TYPE_CHECKING:  # it imports mlx
    from .grammar import Compiled

PLAIN_NAMES = {"user": "User", "assistant": "Assistant", "tool": "Tool"}
OURS = ("tokenize", "conversation", "return_dict", "return_tensors", "chat_template")
MOST_IDS = 200_000  # that are told of one prompt: they go into one report
TEXT_WORTH_COUNTING = 65_536  # characters; shorter texts are tokenised without a look


class Keeps(enum.Enum):
    """What the prefix cache wants to know of a prompt."""

    NOTHING = enum.auto()
    SYSTEM = enum.auto()
    SYSTEM_AND_TURN = enum.auto()


class Tokenizer(SpokenTokenizer, Protocol):
    """What we use of mlx-lm's `TokenizerWrapper` (it forwards to a Hugging Face tokenizer)."""

    has_chat_template: bool
    bos_token: str | None

    @property
    def detokenizer(self) -> Detokenizer: ...

    def apply_chat_template(
        self, messages: list[dict[str, Any]], *, tokenize: bool, **options: object
    ) -> str: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def get_vocab(self) -> dict[str, int]: ...


@attrs.frozen
class Prepared:
    """A request that may enter the batch."""

    gen: Gen
    tokens: list[int]
    seed: int
    trimmed_messages: int = 0
    system_tokens: int = 0  # what every conversation with these system messages begins with
    turn_tokens: int = 0  # what the next turn will begin with: all but what asks for an answer
    grammar: Compiled | None = None  # that of `gen`
    free_until: tuple[int, ...] = ()  # the grammar begins after these tokens: those of reasoning
    reading: Reading | None = None  # None: the answer is text and nothing else


@attrs.define
class PromptMaker:
    """Template and tokenise for one model. Used by one thread."""

    tokenizer: Tokenizer
    context_tokens: int  # the model's own limit
    vocab: int
    keeps: Keeps = Keeps.NOTHING
    _speech: Speech = attrs.field(
        init=False, default=attrs.Factory(lambda self: Speech(self.tokenizer), takes_self=True)
    )
    _context: Context = attrs.field(init=False)
    _longest_token: int | None = attrs.field(init=False, default=None)  # characters

    @_context.default
    def _that_of_the_model(self) -> Context:
        return Context(self.context_tokens)

    def prepare(self, gen: Gen) -> Prepared | Refused:
        """Return what may enter the batch, or the refusal to send; never raises."""
        try:
            _check_sampling(gen)
            self._check_bias(gen)
            return self._prepare(gen)
        except Refusal as refusal:
            return Refused(gen.rid, refusal.code, str(refusal), refusal.param)
        except SpeechProblem as problem:
            return Refused(gen.rid, "unsupported_parameter", str(problem), problem.param)

    def _prepare(self, gen: Gen) -> Prepared:
        given = [part for part in (gen.messages, gen.text, gen.tokens) if part is not None]
        if len(given) != 1:
            raise Refusal("invalid_prompt", "exactly one kind of prompt must be given", None)
        seed = secrets.randbits(64) if gen.seed is None else gen.seed
        if (messages := gen.messages) is not None:
            self._speech.check(gen)
            gen = msgspec.structs.replace(gen, grammar=self._speech.grammar(gen))
            tokens, trimmed = self._chat(gen, messages)
            if gen.count:
                return self._counted(gen, tokens)
            reading = self._speech.reading(gen, tokens)
            free_until = self._speech.end_of_reasoning if reading and reading.thinking else ()
            prepared = Prepared(
                self._context.shortened(gen, tokens),
                tokens,
                seed,
                trimmed,
                free_until=free_until,
                reading=reading,
            )
            return self._marked(prepared, messages)
        tokens = self._text(gen, gen.text) if gen.text is not None else self._ids(gen.tokens or [])
        if gen.count:
            return self._counted(gen, tokens)
        if not tokens:
            raise Refusal("empty_prompt", "the prompt has no tokens", "prompt")
        if len(tokens) > self._context.room(gen):
            raise self._context.too_long(gen, len(tokens), "prompt")
        return Prepared(self._context.shortened(gen, tokens), tokens, seed)

    @staticmethod
    def _counted(gen: Gen, tokens: list[int]) -> Prepared:
        if gen.count == "ids" and len(tokens) > MOST_IDS:
            text = f"{len(tokens)} tokens are too many to be listed; the most is {MOST_IDS}"
            raise Refusal("too_many_tokens", text, None)
        return Prepared(msgspec.structs.replace(gen, grammar=None), tokens, seed=0)

    def _check_bias(self, gen: Gen) -> None:
        for token, bias in gen.logit_bias.items():
            if not 0 <= token < self.vocab:
                text = f"token {token} is none of the model's; they go from 0 to {self.vocab - 1}"
                raise Refusal("invalid_token", text, "logit_bias")
            if not math.isfinite(bias):
                raise Refusal("invalid_value", "a bias must be finite", "logit_bias")

    # --- the three kinds of prompt -------------------------------------------------------------

    def _chat(self, gen: Gen, messages: list[dict[str, Any]]) -> tuple[list[int], int]:
        """Return the ids and how many messages were dropped to make them fit."""
        tokens = self._render(gen, messages, may_refuse_unread=bool(gen.count) or not gen.trim)
        room = self._context.room(gen)
        if gen.count or len(tokens) <= room:
            return tokens, 0
        if not gen.trim or room < 1:
            raise self._context.too_long(gen, len(tokens), "messages")
        # The more turns are dropped the shorter it gets, so the fewest are found by halving.
        shorter = trimmings(messages)
        low, high, best = 0, len(shorter), None
        while low < high:
            middle = (low + high) // 2
            tokens = self._render(gen, shorter[middle])
            if len(tokens) <= room:
                best, high = (tokens, len(messages) - len(shorter[middle])), middle
            else:
                low = middle + 1
        if best is None:
            least = shorter[-1] if shorter else messages
            raise self._context.too_long(gen, len(self._render(gen, least)), "messages")
        return best

    def _render(
        self, gen: Gen, messages: Sequence[Message], *, may_refuse_unread: bool = False
    ) -> list[int]:
        if not messages:
            raise Refusal("invalid_messages", "there are no messages", "messages")
        if reserved := [name for name in OURS if name in gen.template_options]:
            text = f"{reserved[0]!r} cannot be chosen by a request"
            raise Refusal("invalid_value", text, "chat_template_kwargs")
        # A template writes its own special tokens, so nothing is there twice.
        text, special = self._templated(gen, messages), not self.tokenizer.has_chat_template
        if may_refuse_unread:
            self._refuse_if_hopeless(gen, text, "messages")
        tokens = self._encode(text, special)
        if not tokens:
            raise Refusal("empty_prompt", "the messages make an empty prompt", "messages")
        return tokens

    def _templated(self, gen: Gen, messages: Sequence[Message]) -> str:
        options = {"add_generation_prompt": True} | gen.template_options
        if self._speech.shows_tools(gen):
            options["tools"] = gen.tools
        problem: Exception | None = None
        for turns in self._speech.turns(gen, messages):
            try:
                if not self.tokenizer.has_chat_template:
                    return plain_transcript(turns)
                return self.tokenizer.apply_chat_template(turns, tokenize=False, **options)
            except Exception as error:  # noqa: BLE001 - foreign code: it refuses by raising
                problem = problem or error
        reason = " ".join(str(problem).split()) or type(problem).__name__
        text = f"the model's chat template does not take these messages: {reason[:300]}"
        raise Refusal("invalid_messages", text, "messages") from problem

    def _text(self, gen: Gen, text: str) -> list[int]:
        self._refuse_if_hopeless(gen, text, "prompt")
        bos = self.tokenizer.bos_token
        return self._encode(text, gen.add_special and not (bos and text.startswith(bos)))

    def _ids(self, ids: Sequence[object]) -> list[int]:
        tokens: list[int] = []
        for place, token in enumerate(ids):
            if type(token) is not int or not 0 <= token < self.vocab:  # bool is an int, too
                text = f"token {place} must be a whole number from 0 to {self.vocab - 1}"
                raise Refusal("invalid_token", f"{text}, not {repr(token)[:40]}", "prompt")
            tokens.append(token)
        return tokens

    def _encode(self, text: str, special: bool) -> list[int]:
        try:
            tokens = self.tokenizer.encode(text, add_special_tokens=special)
        except Exception as error:  # foreign code; lone surrogates end here
            raise Refusal("invalid_prompt", f"cannot be tokenised: {error}", None) from error
        if tokens and max(tokens) >= self.vocab:  # a token added to the tokenizer, not the model
            raise Refusal("invalid_prompt", "holds a token that the model does not have", None)
        return list(tokens)

    # --- for the prefix cache ------------------------------------------------------------------

    def _marked(self, prepared: Prepared, messages: Sequence[Message]) -> Prepared:
        """Return *prepared* with the places from which other prompts may go on."""
        gen, tokens = prepared.gen, prepared.tokens
        system = turn = 0
        leading = list(takewhile(lambda m: m.get("role") in KEPT_ROLES, messages))
        begins = bool(leading or gen.tools)
        if self.keeps is not Keeps.NOTHING and begins and len(leading) < len(messages):
            # Where two conversations part: at the first token that another user turn changes.
            system = self._shared(tokens, gen, [*leading, {"role": "user", "content": ""}])
        if self.keeps is Keeps.SYSTEM_AND_TURN and not prepared.trimmed_messages:
            options = {**gen.template_options, "add_generation_prompt": False}
            plain = msgspec.structs.replace(gen, template_options=options)
            turn = self._shared(tokens, plain, messages)
        return attrs.evolve(prepared, system_tokens=system, turn_tokens=turn)

    def _shared(self, tokens: list[int], gen: Gen, messages: Sequence[Message]) -> int:
        try:
            other = self._render(gen, messages)
        except Refusal:  # a template that does not take this
            return 0
        return common_prefix(ids_of(tokens), ids_of(other))

    def _refuse_if_hopeless(self, gen: Gen, text: str, param: str) -> None:
        """Refuse a huge text without tokenising it: others wait for this thread."""
        if len(text) < TEXT_WORTH_COUNTING:
            return
        if self._longest_token is None:
            self._longest_token = max(map(len, self.tokenizer.get_vocab()), default=1)
        if (least := len(text) // self._longest_token) > self._context.room(gen):
            raise self._context.too_long(gen, least, param, "at least ")


def plain_transcript(messages: Sequence[Message]) -> str:
    """Return the prompt of a model that brings no chat template, as most base models do."""
    parts = []
    for message in messages:
        name = PLAIN_NAMES.get(message["role"])
        parts.append(f"{name}: {message['content']}" if name else str(message["content"]))
    return "\n\n".join([*parts, "Assistant:"])


def _check_sampling(gen: Gen) -> None:
    """The gateway has checked these; a NaN here would spoil an answer without an error."""
    for name, fine in (
        ("max_tokens", gen.max_tokens >= 1),
        ("temperature", math.isfinite(gen.temperature) and gen.temperature >= 0),
        ("top_p", 0 < gen.top_p <= 1),
        ("top_k", gen.top_k >= 0),
        ("min_p", 0 <= gen.min_p <= 1),
        ("presence_penalty", math.isfinite(gen.presence_penalty)),
        ("frequency_penalty", math.isfinite(gen.frequency_penalty)),
        ("repetition_penalty", 0 < gen.repetition_penalty < math.inf),
    ):
        if not fine:
            raise Refusal("invalid_value", f"{name} is out of range", name)
