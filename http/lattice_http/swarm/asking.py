"""From the bodies of swarm requests to what a session is asked, or a 400 that names the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs
import msgspec
from msgspec import Raw

from lattice_actors.capability.spec import Intent, MetaModel
from lattice_actors.capability.words import fold
from lattice_actors.generation import JsonObject
from lattice_actors.settings import Settings
from lattice_actors.swarm.asks import (
    Agent,
    Debate,
    Ensemble,
    Pipeline,
    Strategy,
    SwarmAsk,
)
from lattice_actors.swarm.roster import AVAILABLE_TOKENS, LOADED_TOKENS, PRESET, is_token
from lattice_http.openai.bodies import (
    decode,
    decode_part,
    fields_of,
    is_empty,
    is_null,
    unknown_names,
    unsupported,
    wrong,
)
from lattice_http.openai.chat import ChatRequest
from lattice_http.openai.request import ModelRequest, shared_fields
from lattice_http.openai.wishes import Headers

from .bodies import (
    MAX_TIMEOUT_S,
    DebateBody,
    FanoutBody,
    Models,
    PipelineBody,
    StepBody,
    SwarmBody,
    SwarmOptions,
    VoteBody,
)
from .entries import (
    branches_of,
    checked_spec,
    manner_of,
    read_agent,
    read_messages,
    read_steps,
    unknown_of_entries,
)

LEAST_CALL_S = 30.0  # of the time that each agent adds
VOTES = tuple(one for one in Strategy if one is not Strategy.FANOUT)
DEBATERS = ("role:reasoner", "role:coder", "role:fast")

B = TypeVar("B", bound=SwarmBody)


@attrs.frozen
class SwarmRequest:
    """One swarm to be run, and what its branches have from the request beside the ask."""

    ask: SwarmAsk
    request: ModelRequest  # sampling, wishes, stream; its `spec` means nothing
    template_options: JsonObject = attrs.field(factory=dict[str, object])
    meta: MetaModel | None = None  # of a chat
    events: bool = True  # a stream tells what the branches say


_FANOUT = msgspec.json.Decoder(FanoutBody)
_VOTE = msgspec.json.Decoder(VoteBody)
_PIPELINE = msgspec.json.Decoder(PipelineBody)
_DEBATE = msgspec.json.Decoder(DebateBody)
_OPTIONS = msgspec.json.Decoder(SwarmOptions)


@attrs.frozen
class SwarmParser:
    """Reads bodies, with the settings' defaults and bounds. All methods raise `BadRequest`."""

    settings: Settings

    def fanout(self, body: bytes, headers: Headers, unix_now: float) -> SwarmRequest:
        """Read the body of ``POST /swarm/fanout``."""
        form, request, messages = _read(body, _FANOUT, headers, unix_now)
        return SwarmRequest(self._ensemble(form, request, messages, Strategy.FANOUT), request)

    def vote(self, body: bytes, headers: Headers, unix_now: float) -> SwarmRequest:
        """Read the body of ``POST /swarm/vote``."""
        form, request, messages = _read(body, _VOTE, headers, unix_now)
        strategy = strategy_of(form.strategy, "strategy", VOTES) or Strategy.BEST_OF_N
        ask = self._ensemble(form, request, messages, strategy)
        return SwarmRequest(
            attrs.evolve(
                ask,
                judge=checked_spec(form.judge or self.settings.swarm_judge, "judge"),
                judge_system=form.judge_system,
                rationale=bool(form.rationale),
            ),
            request,
        )

    def pipeline(self, body: bytes, headers: Headers, unix_now: float) -> SwarmRequest:
        """Read the body of ``POST /swarm/pipeline``."""
        form, request, messages = _read(body, _PIPELINE, headers, unix_now)
        ask = Pipeline(
            steps=read_steps(form.steps),
            messages=messages,
            manner=manner_of(request),
            timeout_s=self._timeout_s(form.timeout, len(form.steps)),
        )
        return SwarmRequest(ask, request)

    def debate(self, body: bytes, headers: Headers, unix_now: float) -> SwarmRequest:
        """Read the body of ``POST /swarm/debate``."""
        form, request, messages = _read(body, _DEBATE, headers, unix_now)
        agents = (
            tuple(map(Agent, DEBATERS))
            if form.models is None
            else self._agents(form.models, "models")
        )
        tokens = any(agent.plain and is_token(agent.spec) for agent in agents)
        if not tokens and branches_of(agents) < 2:
            raise wrong("models", "a debate needs at least two agents")
        rounds = 2 if form.rounds is None else form.rounds
        ask = Debate(
            agents=agents,
            messages=messages,
            rounds=rounds,
            judge=checked_spec(form.judge or self.settings.swarm_judge, "judge"),
            judge_system=form.judge_system,
            max_parallel=self._parallel(form.max_parallel),
            timeout_s=self._timeout_s(form.timeout, rounds * branches_of(agents)),
            manner=manner_of(request),
        )
        return SwarmRequest(ask, request)

    def chat(self, chat: ChatRequest, meta: MetaModel, *, events: bool) -> SwarmRequest:
        """Read the ``swarm`` object of a chat that names a swarm; *events* is its header."""
        _refuse_single(chat)
        if chat.image_param is not None:
            raise unsupported(chat.image_param, "a swarm takes no images")
        if chat.logprobs is not None:
            raise unsupported("logprobs", "not supported for a swarm")
        if chat.prompt().tools:
            raise unsupported("tools", "not supported for a swarm")
        ignored = chat.ignored
        options = SwarmOptions()
        if chat.swarm is not None:
            options = decode_part(chat.swarm, _OPTIONS, "swarm")
            sent = fields_of(chat.swarm, "swarm")
            ignored += tuple(unknown_names(sent, SwarmOptions, "swarm."))
            ignored += tuple(unknown_of_entries(sent.get("models", Raw()), "swarm.models"))
        agents = (
            tuple(Agent(spec) for spec in self.settings.swarm_models or ("auto",))
            if options.models is None
            else self._agents(options.models, "swarm.models")
        )
        strategy = strategy_of(options.strategy, "swarm.strategy", tuple(Strategy))
        if strategy is None:
            fanout = meta.intent is Intent.FANOUT
            strategy = Strategy.FANOUT if fanout else Strategy(self.settings.swarm_strategy)
        ask = Ensemble(
            agents=agents,
            messages=chat.messages,
            strategy=strategy,
            judge=checked_spec(options.judge or self.settings.swarm_judge, "swarm.judge"),
            judge_system=options.judge_system,
            rationale=bool(options.rationale),
            quorum=self._quorum(options.quorum, "swarm.quorum"),
            max_parallel=self._parallel(options.max_parallel),
            timeout_s=self._timeout_s(options.timeout, branches_of(agents)),
            manner=manner_of(chat),
        )
        return SwarmRequest(
            ask,
            attrs.evolve(chat, ignored=ignored),
            chat.template_options,
            meta,
            events if options.events is None else options.events,
        )

    def _ensemble(
        self,
        form: FanoutBody,
        request: ModelRequest,
        messages: tuple[JsonObject, ...],
        strategy: Strategy,
    ) -> Ensemble:
        agents = self._agents(form.models, "models")
        return Ensemble(
            agents=agents,
            messages=messages,
            strategy=strategy,
            quorum=self._quorum(form.quorum, "quorum"),
            max_parallel=self._parallel(form.max_parallel),
            timeout_s=self._timeout_s(form.timeout, branches_of(agents)),
            manner=manner_of(request),
        )

    def _agents(self, models: Models, param: str) -> tuple[Agent, ...]:
        if isinstance(models, str):
            if not is_token(models):  # a name as text is a slip: a list was meant
                words = ", ".join(sorted(LOADED_TOKENS | AVAILABLE_TOKENS))
                raise wrong(param, f"expected a list, or one of {words}, {PRESET}NAME")
            models = [models]
        agents: list[Agent] = []
        for index, entry in enumerate(models):
            place = f"{param}[{index}]"
            agents.append(
                Agent(checked_spec(entry, place))
                if isinstance(entry, str)
                else read_agent(entry, place)
            )
        branches, limit = branches_of(agents), self.settings.swarm_max_branches
        if branches > limit:
            raise wrong(param, f"{branches} answers asked for, and a swarm has at most {limit}")
        return tuple(agents)

    def _quorum(self, sent: int | None, param: str) -> int | None:
        limit = self.settings.swarm_max_branches
        if sent is not None and sent > limit:
            raise wrong(param, f"expected at most {limit}, the most answers of a swarm")
        return sent

    def _parallel(self, sent: int | None) -> int | None:
        """None is no bound of its own: admission has one."""
        bounds = [bound for bound in (sent, self.settings.swarm_parallel) if bound]
        return min(bounds, default=None)

    def _timeout_s(self, sent: float | None, calls: int) -> float:
        """Return how long the branches may take together, seconds."""
        if sent is not None or self.settings.swarm_timeout_s:
            return sent or self.settings.swarm_timeout_s
        return budget_s(self.settings, calls)


def budget_s(settings: Settings, calls: int) -> float:
    """Return how long *calls* agents may take together where nobody says, seconds."""
    return min(max(LEAST_CALL_S, settings.swarm_call_timeout_s) * calls, MAX_TIMEOUT_S)


def strategy_of(sent: str | None, param: str, allowed: Sequence[Strategy]) -> Strategy | None:
    """Return the strategy called *sent*; ``first_success`` is ``first-success``."""
    if sent is None:
        return None
    word = fold(sent).replace("_", "-")
    for strategy in allowed:
        if word == strategy.value:
            return strategy
    raise wrong(param, f"expected one of {', '.join(one.value for one in allowed)}")


def _read(
    body: bytes, decoder: msgspec.json.Decoder[B], headers: Headers, unix_now: float
) -> tuple[B, ModelRequest, tuple[JsonObject, ...]]:
    form, sent = decode(body, decoder)
    if not is_empty(form.tools, b"[]", "tools"):
        raise unsupported("tools", "not supported for a swarm")
    shared = shared_fields(form, sent, headers, unix_now)
    if form.max_completion_tokens is not None:
        shared["max_tokens"] = form.max_completion_tokens
    nameless = [name for name in ("model", "swarm") if not is_null(sent.get(name, Raw()))]
    unknown = unknown_of_entries(sent.get("models", Raw()), "models")
    steps = unknown_of_entries(sent.get("steps", Raw()), "steps", StepBody)
    shared["ignored"] = (*shared["ignored"], *nameless, *unknown, *steps)
    request = ModelRequest(**shared)
    _refuse_single(request)
    return form, request, read_messages(form.messages, "messages")


def _refuse_single(request: ModelRequest) -> None:
    if request.n > 1:
        raise unsupported("n", "a swarm asks for several answers with samples")
    if request.grammar is not None:
        raise unsupported(request.grammar.param, "not supported for a swarm")
