from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.spec import (
    MAX_ENTRIES,
    Cloud,
    Default,
    Intent,
    Pattern,
    Plain,
    Role,
    meta_model,
    parse,
    placeholders,
)


@pytest.mark.parametrize("model", [None, "", "  ", "AUTO", " default ", "gpt-4o", "Claude-3-Opus"])
def test_a_placeholder_asks_for_the_default(model: str | None) -> None:
    spec = parse(model)

    assert spec.placeholder
    assert spec.entries == (Default(),)


def test_entries_of_all_kinds_are_mixed_and_empty_ones_skipped() -> None:
    spec = parse(" Role: Coder , qwen* ,, a*b ,*, Phi , ")

    assert spec.entries == (
        Role("coder"),
        Pattern(("qwen",)),
        Pattern(("a", "b")),
        Pattern(()),
        Plain("phi"),
    )
    assert not spec.placeholder


def test_auto_is_special_only_as_the_last_entry() -> None:
    assert parse("auto,role:x").entries == (Plain("auto"), Role("x"))
    assert parse("role:x,auto").entries == (Role("x"), Default())
    assert not parse("role:x,default").placeholder


def test_a_plus_is_a_comma_unless_it_stands_in_an_id() -> None:
    assert parse("role:reasoner+phi").entries == (Role("reasoner"), Plain("phi"))
    assert parse("a+b", known={"a+b"}).entries == (Plain("a+b"),)
    assert parse("x,a+b", known={"a+b"}).entries == (Plain("x"), Plain("a+b"))


def test_an_exact_id_beats_its_reading_as_a_placeholder_or_list() -> None:
    assert parse("GPT-4", known={"gpt-4"}).entries == (Plain("gpt-4"),)
    assert parse("a,b", known={"a,b"}).entries == (Plain("a,b"),)
    assert not parse("gpt-4", known={"gpt-4"}).placeholder


def test_extra_placeholders_are_added_and_unset_means_the_legacy_ones() -> None:
    assert parse("MyApp", placeholders("myapp, other")).placeholder
    assert not parse("openclaw", placeholders("")).placeholder
    assert parse("openclaw", placeholders(None)).placeholder


@pytest.mark.parametrize("sign", [":", "/", "-"])
def test_a_cloud_id_is_one_in_every_form_and_place(sign: str) -> None:
    text = f"Anthropic{sign} Claude-X"

    assert parse(text).entries == (Cloud("claude-x"),)
    assert parse(f"role:fast, {text}").entries == (Role("fast"), Cloud("claude-x"))
    assert parse(f"role:fast+{text}").entries == (Role("fast"), Cloud("claude-x"))


def test_the_cloud_alone_is_its_configured_model_and_what_only_begins_so_is_text() -> None:
    assert parse("anthropic").entries == (Cloud(""),)
    assert parse("role:fast,anthropic").entries == (Role("fast"), Cloud(""))
    assert parse("anthropics").entries == (Plain("anthropics"),)
    assert parse("anthropic*").entries == (Pattern(("anthropic",)),)
    known = "anthropic/mine"  # a model of this machine or of an upstream
    assert parse(f"x,{known}", known={known}).entries == (Plain("x"), Plain(known))


@given(st.text() | st.text("ab,+*: role"), st.sets(st.text(max_size=5)))
def test_no_text_is_invalid(model: str, known: set[str]) -> None:
    spec = parse(model, known=known)

    assert len(spec.entries) <= MAX_ENTRIES
    assert len(set(spec.entries)) == len(spec.entries)
    assert not spec.placeholder or spec.entries == (Default(),)


def test_a_megabyte_of_list_is_cut() -> None:
    assert len(parse(",".join(map(str, range(200_000)))).entries) == MAX_ENTRIES


@pytest.mark.parametrize(
    ("name", "intent", "canonical"),
    [
        ("swarmCouncil", Intent.COUNCIL, "swarmCouncil"),
        (" SWARMVOTE ", Intent.COUNCIL, "swarmCouncil"),
        ("swarm/vote", Intent.COUNCIL, "swarmCouncil"),
        ("swarmIntelligence", Intent.COUNCIL, "swarmCouncil"),
        ("swarm/fanout", Intent.FANOUT, "swarm/fanout"),
        ("swarm/pipeline", Intent.PIPELINE, "swarm/pipeline"),
    ],
)
def test_a_meta_model_is_recognised(name: str, intent: Intent, canonical: str) -> None:
    meta = meta_model(name)

    assert meta is not None
    assert (meta.intent, meta.canonical) == (intent, canonical)
    assert meta.deprecated == (name == "swarmIntelligence")


@pytest.mark.parametrize("name", [None, "", "my-swarm-vote", "swarm/vote,auto", "swarm"])
def test_a_part_of_a_meta_name_is_an_ordinary_spec(name: str | None) -> None:
    assert meta_model(name) is None
