"""What swarm bodies mean, and what is refused: by name, and before anything runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.spec import meta_model
from lattice_actors.errors import BadRequest
from lattice_actors.settings import Settings
from lattice_actors.swarm.asks import Agent, Debate, Ensemble, Manner, Pipeline, Step, Strategy
from lattice_http.openai.chat import parse_chat
from lattice_http.swarm.asking import SwarmParser, SwarmRequest
from tests.http_layer.test_openai_body_laws import json_values, places, replaced

NOW = 1_800_000_000.0  # Unix time, seconds
HELLO: Any = [{"role": "user", "content": "hello"}]
PRESETS = (("wise", ("role:reasoner", "auto")),)
PARSER = SwarmParser(Settings(swarm_presets=PRESETS))

BODIES: dict[str, dict[str, Any]] = {
    "fanout": {"models": ["a", "b"], "messages": HELLO},
    "vote": {"models": ["a", "b"], "messages": HELLO},
    "pipeline": {"steps": [{"model": "a"}], "messages": HELLO},
    "debate": {"messages": HELLO},
}


def parse(route: str, body: dict[str, Any], settings: Settings | None = None) -> SwarmRequest:
    parser = PARSER if settings is None else SwarmParser(settings)
    content = json.dumps(body).encode()
    if route == "chat":
        chat = parse_chat(content, {}, NOW)
        meta = meta_model(chat.spec)
        assert meta is not None
        return parser.chat(chat, meta, events=False)
    parsed: SwarmRequest = getattr(parser, route)(content, {}, NOW)
    return parsed


def ensemble(route: str, settings: Settings | None = None, **fields: Any) -> Ensemble:  # noqa: ANN401
    ask = parse(route, {**BODIES[route], **fields}, settings).ask
    assert isinstance(ask, Ensemble)
    return ask


def council(settings: Settings | None = None, **swarm: Any) -> Ensemble:  # noqa: ANN401
    body = {"model": "swarmCouncil", "messages": HELLO, "swarm": swarm}
    ask = parse("chat", body, settings).ask
    assert isinstance(ask, Ensemble)
    return ask


def test_a_fan_out_is_what_its_body_says() -> None:
    entry = {"model": "b", "samples": 3, "system": "Be brief.", "max_tokens": 5, "timeout": 2}
    body = {
        "models": ["a", entry, {"model": "c", "messages": [{"role": "developer", "content": "x"}]}],
        "messages": HELLO,
        "max_completion_tokens": 9,
        "temperature": 0,
        "seed": 7,
        "quorum": 2,
        "max_parallel": 2,
        "timeout": 12.5,
    }

    ask = parse("fanout", body).ask

    assert ask == Ensemble(
        agents=(
            Agent("a"),
            Agent("b", False, 3, "Be brief.", manner=Manner(max_tokens=5), timeout_s=2),
            Agent("c", False, messages=({"role": "system", "content": "x"},)),
        ),
        messages=({"role": "user", "content": "hello"},),
        strategy=Strategy.FANOUT,
        quorum=2,
        max_parallel=2,
        timeout_s=12.5,
        manner=Manner(9, 0, None, 7),
    )


def test_a_pipeline_gives_names_to_steps_that_have_none() -> None:
    steps = [{"system": "s"}, {"name": "two", "model": "b", "user": "{{step_1}}", "top_p": 0.5}]

    ask = parse("pipeline", {"steps": steps, "messages": HELLO, "max_tokens": 4}).ask

    assert isinstance(ask, Pipeline)
    assert ask.steps == (
        Step("step_1", "auto", "s"),
        Step("two", "b", None, "{{step_1}}", Manner(top_p=0.5)),
    )
    assert ask.manner == Manner(max_tokens=4)


def test_a_debate_has_the_three_roles_and_two_rounds_unless_it_says_otherwise() -> None:
    ask = parse("debate", BODIES["debate"]).ask

    assert isinstance(ask, Debate)
    assert [agent.spec for agent in ask.agents] == ["role:reasoner", "role:coder", "role:fast"]
    assert (ask.rounds, ask.judge) == (2, "role:reasoner")


@pytest.mark.parametrize("sent", ["first-success", "first_success", " FIRST-SUCCESS "])
def test_a_strategy_has_more_than_one_spelling(sent: str) -> None:
    assert ensemble("vote", strategy=sent).strategy is Strategy.FIRST_SUCCESS


def test_a_chat_takes_what_it_does_not_say_from_the_settings() -> None:
    settings = Settings(
        swarm_models=("x", "y"),
        swarm_strategy="majority",
        swarm_judge="wise",
        swarm_parallel=3,
        swarm_timeout_s=7.0,
    )

    ask = council(settings)

    assert [agent.spec for agent in ask.agents] == ["x", "y"]
    assert (ask.strategy, ask.judge, ask.timeout_s) == (Strategy.MAJORITY, "wise", 7.0)
    assert ask.max_parallel == 3
    assert council(settings, max_parallel=2).max_parallel == 2
    assert council(Settings(), max_parallel=2).max_parallel == 2
    assert council(Settings()).max_parallel is None  # the queue bounds it


def test_swarm_fanout_in_a_chat_is_a_fan_out_unless_it_names_a_strategy() -> None:
    body = {"model": "swarm/fanout", "messages": HELLO}

    plain, named = parse("chat", body), parse("chat", {**body, "swarm": {"strategy": "longest"}})

    assert isinstance(plain.ask, Ensemble)
    assert plain.ask.strategy is Strategy.FANOUT
    assert isinstance(named.ask, Ensemble)
    assert named.ask.strategy is Strategy.LONGEST


@pytest.mark.parametrize(("branches", "timeout_s"), [(1, 180), (3, 540), (16, 2880)])
def test_the_time_for_a_swarm_grows_with_its_branches(branches: int, timeout_s: float) -> None:
    entry = {"model": "a", "samples": branches}

    assert ensemble("fanout", models=[entry]).timeout_s == timeout_s


def test_the_time_for_a_swarm_is_at_most_an_hour() -> None:
    settings = Settings(swarm_call_timeout_s=3000)

    assert ensemble("fanout", settings, models=["a", "b"]).timeout_s == 3600


@pytest.mark.parametrize("models", ["auto", " LOADED ", "*", "available", "preset: Wise"])
def test_a_token_may_stand_alone(models: str) -> None:
    assert [agent.spec for agent in ensemble("vote", models=models).agents] == [models.strip()]


def test_equal_names_count_once_towards_the_limit() -> None:
    assert len(ensemble("fanout", models=["a"] * 100).agents) == 100


def test_fields_without_effect_are_listed() -> None:
    body = {
        **BODIES["vote"],
        "models": ["a", {"model": "b", "colour": "red", "seed": None}],
        "model": "c",
        "swarm": {},
        "shoe_size": 45,
    }
    chat = {"model": "swarmVote", "messages": HELLO, "swarm": {"colour": 1, "models": ["a"]}}
    step = {"steps": [{"model": "a", "prompt": "x"}], "messages": HELLO}

    assert parse("vote", body).request.ignored == (
        "shoe_size",
        "model",
        "swarm",
        "models[1].colour",
    )
    assert parse("chat", chat).request.ignored == ("swarm.colour",)
    assert parse("pipeline", step).request.ignored == ("steps[0].prompt",)


ANY_MODELS: list[tuple[Any, str]] = [
    (None, "models"),
    ([], "models"),
    ({}, "models"),
    (5, "models"),
    ("qwen", "models"),
    ("role:coder,role:fast", "models"),
    ("", "models"),
    ([5], "models[0]"),
    (["a", None], "models[1]"),
    ([""], "models[0]"),
    ([" "], "models[0]"),
    (["a", {}], "models[1].model"),
    ([{"model": 5}], "models[0].model"),
    ([{"model": " "}], "models[0].model"),
    ([{"model": "a", "samples": 0}], "models[0].samples"),
    ([{"model": "a", "samples": "3"}], "models[0].samples"),
    ([{"model": "a", "samples": 100}], "models"),
    ([{"model": "a", "system": 5}], "models[0].system"),
    ([{"model": "a", "messages": []}], "models[0].messages"),
    (
        [{"model": "a", "messages": [{"role": "king", "content": "x"}]}],
        "models[0].messages[0].role",
    ),
    ([{"model": "a", "max_tokens": 0}], "models[0].max_tokens"),
    ([{"model": "a", "temperature": 3}], "models[0].temperature"),
    ([{"model": "a", "top_p": "high"}], "models[0].top_p"),
    ([{"model": "a", "timeout": 0}], "models[0].timeout"),
    (["a"] * 300, "models"),
    ([f"m{number}" for number in range(17)], "models"),
]
SHARED_FIELDS: list[dict[str, Any]] = [
    {"max_tokens": 0},
    {"temperature": "hot"},
    {"top_p": 2},
    {"stream": "yes"},
    {"queue": 5},
    {"timeout": -1},
    {"timeout": 1e9},
    {"n": 2},
    {"response_format": {"type": "json_object"}},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
WRONG_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    *(
        (route, {"models": models}, param)
        for route in ("fanout", "vote")
        for models, param in ANY_MODELS
    ),
    *(("debate", {"models": models}, param) for models, param in ANY_MODELS if models is not None),
    *(
        (route, {"messages": messages}, param)
        for route in BODIES
        for messages, param in [
            (None, "messages"),
            ([], "messages"),
            ("hello", "messages"),
            ([5], "messages[0]"),
            (
                [{"role": "user", "content": [{"type": "text", "text": 5}]}],
                "messages[0].content[0].text",
            ),
            (IMAGE, "messages[0].content[0]"),
        ]
    ),
    *((route, fields, min(fields)) for route in BODIES for fields in SHARED_FIELDS),
    ("vote", {"strategy": "loudest"}, "strategy"),
    ("vote", {"strategy": "fanout"}, "strategy"),
    ("vote", {"strategy": 5}, "strategy"),
    ("vote", {"judge": 5}, "judge"),
    ("vote", {"judge": ""}, "judge"),
    ("vote", {"judge_system": []}, "judge_system"),
    ("vote", {"rationale": "yes"}, "rationale"),
    ("vote", {"quorum": 0}, "quorum"),
    ("vote", {"quorum": 17}, "quorum"),
    ("vote", {"max_parallel": 0}, "max_parallel"),
    ("fanout", {"max_parallel": "2"}, "max_parallel"),
    ("pipeline", {"steps": None}, "steps"),
    ("pipeline", {"steps": []}, "steps"),
    ("pipeline", {"steps": "a"}, "steps"),
    ("pipeline", {"steps": [5]}, "steps[0]"),
    ("pipeline", {"steps": [{}] * 17}, "steps"),
    ("pipeline", {"steps": [{"model": 5}]}, "steps[0].model"),
    ("pipeline", {"steps": [{"model": " "}]}, "steps[0].model"),
    ("pipeline", {"steps": [{"name": 5}]}, "steps[0].name"),
    ("pipeline", {"steps": [{"name": ""}]}, "steps[0].name"),
    ("pipeline", {"steps": [{"name": "a\r\nX-Evil: 1"}]}, "steps[0].name"),
    ("pipeline", {"steps": [{"name": "a\u0085b"}]}, "steps[0].name"),
    ("pipeline", {"steps": [{"name": "Previous"}]}, "steps[0].name"),
    ("pipeline", {"steps": [{"name": "a"}, {"name": "a"}]}, "steps[1].name"),
    ("pipeline", {"steps": [{"name": "step_2"}, {}]}, "steps[1].name"),
    ("pipeline", {"steps": [{"name": "n" * 65}]}, "steps[0].name"),
    ("pipeline", {"steps": [{"user": 5}]}, "steps[0].user"),
    ("pipeline", {"steps": [{"system": []}]}, "steps[0].system"),
    ("pipeline", {"steps": [{"max_tokens": 1.5}]}, "steps[0].max_tokens"),
    ("debate", {"rounds": 0}, "rounds"),
    ("debate", {"rounds": -1}, "rounds"),
    ("debate", {"rounds": 6}, "rounds"),
    ("debate", {"rounds": 100_000}, "rounds"),
    ("debate", {"rounds": "abc"}, "rounds"),
    ("debate", {"rounds": 1.5}, "rounds"),
    ("debate", {"models": ["a"]}, "models"),
    ("debate", {"models": ["a", "a"]}, "models"),
]


@pytest.mark.parametrize(("route", "fields", "param"), WRONG_FIELDS)
def test_a_wrong_field_is_refused_by_name(route: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(route, {**BODIES[route], **fields})

    assert refused.value.param == param
    assert refused.value.message.startswith(param)


@pytest.mark.parametrize(
    ("route", "missing"),
    [
        *((route, "messages") for route in BODIES),
        ("fanout", "models"),
        ("vote", "models"),
        ("pipeline", "steps"),
    ],
)
def test_a_missing_field_is_refused_by_name(route: str, missing: str) -> None:
    body = {name: value for name, value in BODIES[route].items() if name != missing}

    with pytest.raises(BadRequest) as refused:
        parse(route, body)

    assert refused.value.param == missing


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        *(
            ({"swarm": {"models": models}}, f"swarm.{param}")
            for models, param in ANY_MODELS
            if models is not None
        ),
        ({"swarm": 5}, "swarm"),
        ({"swarm": "auto"}, "swarm"),
        ({"swarm": []}, "swarm"),
        ({"swarm": {"strategy": 5}}, "swarm.strategy"),
        ({"swarm": {"strategy": "loudest"}}, "swarm.strategy"),
        ({"swarm": {"judge": 5}}, "swarm.judge"),
        ({"swarm": {"judge": " "}}, "swarm.judge"),
        ({"swarm": {"max_parallel": 0}}, "swarm.max_parallel"),
        ({"swarm": {"events": "yes"}}, "swarm.events"),
        ({"swarm": {"quorum": 99}}, "swarm.quorum"),
        ({"messages": IMAGE}, "messages[0].content[0]"),
        ({"messages": []}, "messages"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"guided_choice": ["a"]}, "guided_choice"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ],
)
def test_a_wrong_field_of_a_chat_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse("chat", {"model": "swarmCouncil", "messages": HELLO, **fields})

    assert refused.value.param == param


def test_too_many_branches_are_told_the_number_of_the_limit() -> None:
    with pytest.raises(BadRequest, match="100 answers asked for, and a swarm has at most 16"):
        ensemble("fanout", models=[{"model": "a", "samples": 100}])


MANNER = {"max_tokens": 5, "temperature": 1, "top_p": 0.5, "seed": 1}
AGENT = {"model": "b", "samples": 2, "system": "s", "messages": HELLO, "timeout": 1, **MANNER}
COMMON: dict[str, Any] = {
    "messages": HELLO,
    "timeout": 5,
    "stream": True,
    "stream_options": {"include_usage": True},
    "queue": {"priority": 1},
    "stop": ["x"],
    **MANNER,
}
JUDGED = {"models": ["a", AGENT, "auto"], "judge": "j", "judge_system": "s", "max_parallel": 2}
VOTE = {**JUDGED, "strategy": "majority", "rationale": True, "quorum": 1}
STEP = {"name": "one", "model": "a", "system": "s", "user": "{{previous}}", **MANNER}
FULL: dict[str, dict[str, Any]] = {
    "fanout": {**COMMON, "models": ["a", AGENT], "max_parallel": 2, "quorum": 1},
    "vote": {**COMMON, **VOTE},
    "pipeline": {**COMMON, "steps": [STEP, {}]},
    "debate": {**COMMON, **JUDGED, "rounds": 3},
    "chat": {"model": "swarmCouncil", "messages": HELLO, "swarm": {**VOTE, "events": True}},
}
PLACES = [
    (route, place)
    for route, body in FULL.items()
    for place in places(body)
    if (route, place) != ("chat", ("model",))  # it is what makes it a swarm
]


@given(st.sampled_from(PLACES), json_values)
def test_whatever_stands_in_a_body_it_is_a_swarm_or_a_named_refusal(
    where: tuple[str, tuple[Any, ...]], value: object
) -> None:
    route, place = where
    body = replaced(FULL[route], place, value)

    try:
        asked = parse(route, body)
    except BadRequest as error:
        assert error.param is not None  # noqa: PT017 - both ends are right
    else:
        assert asked.ask.timeout_s is not None
        assert asked.ask.timeout_s > 0
