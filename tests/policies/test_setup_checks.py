"""What doctor says of the facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.catalog.entry import Kind, ModelEntry, Snapshot, Unusable
from lattice_http.hosts import is_loopback
from lattice_http.setup.machine_checks import (
    CacheFacts,
    MemoryFacts,
    PlatformFacts,
    TrialFacts,
    check_arithmetic,
    check_cache,
    check_memory,
    check_platform,
)
from lattice_http.setup.serving_checks import (
    CloudFacts,
    DoorFacts,
    FileFacts,
    Listener,
    ModelFacts,
    UpstreamFacts,
    check_answers,
    check_cloud,
    check_door,
    check_file,
    check_models,
    check_upstream,
    weakness_of,
)
from lattice_http.setup.verdicts import Level, Verdict, fine, problem, stops, warning

GB = 10**9
LINUX = PlatformFacts((3, 11, 7), "linux", "x86_64")
GOOD_KEY = "kJ8w-2nQz0vX7pLr5tYc1"
FINE, WARNING, PROBLEM = Level.FINE, Level.WARNING, Level.PROBLEM


def levels(verdicts: Any) -> list[Level]:  # noqa: ANN401 - an iterable of verdicts
    return [verdict.level for verdict in verdicts]


# --- the machine -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (LINUX, [FINE, FINE]),
        (PlatformFacts((3, 13, 0), "darwin", "arm64"), [FINE, FINE]),
        (PlatformFacts((3, 11, 0), "darwin", "x86_64"), [FINE, WARNING]),
        (PlatformFacts((3, 10, 9), "linux", "aarch64"), [WARNING, FINE]),
    ],
)
def test_platforms(facts: PlatformFacts, expected: list[Level]) -> None:
    assert levels(check_platform(facts)) == expected


@pytest.mark.parametrize(
    ("trial", "level", "said"),
    [
        (TrialFacts("openblas", "0.32", 20.0), FINE, "openblas, 20 GFLOPS"),
        (TrialFacts("metal", "0.32", 900.0), FINE, "metal"),
        (TrialFacts("preloaded", "0.32", 9.0), FINE, "preloaded"),
        (TrialFacts("reference", "0.32", 1.2, "warning: no patchelf"), WARNING, "no patchelf"),
        (TrialFacts(said="ImportError: libmlx.so"), WARNING, "libmlx.so"),
    ],
)
def test_the_reference_blas_is_told_of_with_the_fix(
    trial: TrialFacts, level: Level, said: str
) -> None:
    verdict = check_arithmetic(LINUX, trial)

    assert verdict.level is level
    assert said in verdict.found
    if trial.blas == "reference":
        assert "scipy-openblas32" in verdict.remedy
        assert "libopenblas0-pthread" in verdict.remedy


def test_where_there_is_no_mlx_nothing_is_wrong_with_its_arithmetic() -> None:
    assert (
        check_arithmetic(PlatformFacts((3, 11, 0), "darwin", "x86_64"), TrialFacts()).level is FINE
    )


MEMORY = MemoryFacts(16 * GB, 10 * GB, None, 12 * GB, (("m", 5 * GB),))


@pytest.mark.parametrize(
    ("change", "expected", "said"),
    [
        ({}, [FINE], "budget 12.0 GB, 10.0 GB free now"),
        ({"budget": 17 * GB}, [WARNING], "the machine has only 16.0 GB"),
        ({"allowed": 4 * GB}, [WARNING], "the container may use only 4.0 GB"),
        ({"available": 5 * GB}, [WARNING], "other programs have the rest"),
        ({"available": None}, [FINE], "budget 12.0 GB"),
        ({"physical": None}, [FINE], "budget 12.0 GB"),
        ({"needs": (("m", 13 * GB), ("n", 12 * GB))}, [FINE, WARNING], "m needs 13.0 GB"),
    ],
)
def test_memory(change: dict[str, Any], expected: list[Level], said: str) -> None:
    verdicts = list(check_memory(attrs.evolve(MEMORY, **change)))

    assert levels(verdicts) == expected
    assert said in verdicts[-1].found


def test_the_cache_needs_leave_and_room() -> None:
    folder = Path("/c")

    assert check_cache(CacheFacts(folder, "", 2 * GB, GB)).level is FINE
    assert check_cache(CacheFacts(folder, "", GB, GB)).level is WARNING
    assert "may not" in check_cache(CacheFacts(folder, "may not", 9 * GB)).found


# --- serving ---------------------------------------------------------------------------------


def test_keys_in_a_file_that_others_can_read_are_told_of() -> None:
    path = Path("lattice.toml")

    assert levels(check_file(FileFacts(None), ())) == [FINE]
    assert levels(check_file(FileFacts(path, (), True), ("old name",))) == [FINE, WARNING]
    (verdict,) = check_file(FileFacts(path, ("api_key",), True), ())
    assert verdict.level is WARNING
    assert "chmod 600 lattice.toml" in verdict.remedy
    assert levels(check_file(FileFacts(path, ("api_key",), False), ())) == [FINE]


@pytest.mark.parametrize(
    ("listener", "level"),
    [
        (Listener.NOBODY, FINE),
        (Listener.OURS, FINE),
        (Listener.STRANGER, PROBLEM),
        (Listener.NOT_OURS_TO_HAVE, PROBLEM),
    ],
)
def test_only_a_stranger_at_the_port_is_in_the_way(listener: Listener, level: Level) -> None:
    assert next(check_door(DoorFacts("127.0.0.1", 5001, listener, "no"))).level is level


@pytest.mark.parametrize(
    ("host", "key", "allowed", "level"),
    [
        ("127.0.0.1", None, False, FINE),
        ("127.0.0.1", "sesame", False, FINE),
        ("0.0.0.0", None, False, PROBLEM),
        ("0.0.0.0", None, True, WARNING),
        ("0.0.0.0", "sesame", False, WARNING),
        ("0.0.0.0", GOOD_KEY, False, FINE),
    ],
)
def test_who_can_be_reached_needs_a_good_key(
    host: str, key: str | None, allowed: bool, level: Level
) -> None:
    facts = DoorFacts(host, 5001, Listener.NOBODY, api_key=key, public_without_key=allowed)

    verdict = list(check_door(facts))[-1]

    assert verdict.level is level
    assert key is None or key not in repr(facts) + verdict.found + verdict.remedy


@pytest.mark.parametrize("key", ["", "a" * 40, "changeme-12345678", "shortish", "schlüssel" * 4])
def test_weak_keys(key: str) -> None:
    assert weakness_of(key)


def test_a_random_key_is_not_weak() -> None:
    assert weakness_of(GOOD_KEY) == ""


@given(
    st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "192.168.1.2", ""]),
    st.none() | st.text("abc1", max_size=20),
    st.booleans(),
)
def test_the_key_is_in_the_way_exactly_when_serve_refuses(
    host: str, key: str | None, allowed: bool
) -> None:
    facts = DoorFacts(host, 1, Listener.NOBODY, api_key=key, public_without_key=allowed)

    assert stops(check_door(facts)) == (not (key or allowed or is_loopback(host)))


def models(*entries: ModelEntry, **fields: Any) -> ModelFacts:  # noqa: ANN401 - of ModelFacts
    unusable = fields.pop("unusable", ())
    return ModelFacts(None, Snapshot(entries, unusable, Path("/m")), **fields)


def test_models_that_cannot_be_used_come_with_the_reason_and_what_to_do() -> None:
    reasons = ["holds GGUF weights; MLX needs model*.safetensors", "cannot be read: x", "no config"]
    broken = tuple(Unusable(f"b{n}", Path(f"/m/b{n}"), reason) for n, reason in enumerate(reasons))

    first, gguf, unreadable, cut = check_models(models(ModelEntry("a"), unusable=broken))

    assert first == fine("models", "1 for chats in /m")
    assert "LM Studio" in gguf.remedy
    assert "let this user read /m/b1" in unreadable.remedy
    assert "download it again" in cut.remedy


def test_a_great_many_broken_models_are_counted() -> None:
    broken = tuple(Unusable(f"b{n}", Path("/m"), "no config.json") for n in range(20))

    assert "12 more cannot be used" in list(check_models(models(unusable=broken)))[-1].found


def test_a_root_that_is_no_folder_is_told_of() -> None:
    facts = ModelFacts(Path("/nowhere"), Snapshot(root=Path("/nowhere")), there=False)

    assert levels(check_models(facts)) == [WARNING]


UPSTREAM = UpstreamFacts("gpu", "http://gpu:1", models=3, chats=2)


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({}, FINE, "models: 3, for chats: 2"),
        ({"loaded": 1}, FINE, "loaded: 1"),
        ({"models": 0, "chats": 0}, WARNING, "load or pull one"),
        ({"itself": True}, WARNING, "this server itself"),
        ({"fault": "x", "code": "upstream_unreachable"}, WARNING, "start it"),
        ({"fault": "x", "code": "upstream_timeout"}, WARNING, "what hangs"),
        ({"fault": "x", "code": "upstream_refused_key"}, WARNING, "api_key_env"),
        ({"fault": "x", "code": "upstream_refused_key", "key_env": "K"}, WARNING, "into K"),
        ({"fault": "x", "code": "upstream_bad_answer"}, WARNING, "http://gpu:1/v1/models"),
    ],
)
def test_upstreams(change: dict[str, Any], level: Level, said: str) -> None:
    verdict = check_upstream(attrs.evolve(UPSTREAM, **change))

    assert verdict.level is level
    assert said in verdict.found + verdict.remedy


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        (CloudFacts(False, ()), FINE, "off"),
        (CloudFacts(True, ()), FINE, "no anthropic_model"),
        (CloudFacts(False, ("c",)), WARNING, "no key"),
        (CloudFacts(True, ("c",)), FINE, "not asked"),
        (CloudFacts(True, ("c",), asked=True), FINE, "knows the key"),
        (CloudFacts(True, ("c",), asked=True, refused="it says no"), WARNING, "it says no"),
        (CloudFacts(True, ("c",), barred="locality is local-only"), FINE, "local-only"),
    ],
)
def test_the_cloud(facts: CloudFacts, level: Level, said: str) -> None:
    verdict = check_cloud(facts)

    assert verdict.level is level
    assert said in verdict.found


@pytest.mark.parametrize(
    ("local", "upstream", "cloud", "mlx", "level"),
    [
        (models(ModelEntry("a")), 0, False, True, FINE),
        (models(ModelEntry("a")), 0, False, False, PROBLEM),  # MLX does not work
        (models(builtin=True), 0, False, True, FINE),
        (models(ModelEntry("e", Kind.EMBEDDING)), 0, False, True, PROBLEM),
        (models(), 2, False, False, FINE),
        (models(), 0, True, False, FINE),
        (models(), 0, False, True, PROBLEM),
    ],
)
def test_something_must_be_able_to_answer(
    local: ModelFacts, upstream: int, cloud: bool, mlx: bool, level: Level
) -> None:
    asked = [attrs.evolve(UPSTREAM, chats=upstream), attrs.evolve(UPSTREAM, chats=9, itself=True)]

    verdict = check_answers(local, asked, CloudFacts(cloud, ("c",)), mlx=mlx)

    assert verdict.level is level


def test_only_problems_stop() -> None:
    calm: list[Verdict] = [fine("a", "x"), warning("b", "x", "y")]

    assert not stops(calm)
    assert stops([*calm, problem("c", "x", "y")])
