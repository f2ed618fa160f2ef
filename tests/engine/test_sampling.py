"""Samplers with a key of their own, and the guard round them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.sampling import (
    Guard,
    SeededSampler,
    greedy,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    token_key,
)

VOCAB = 50


def row(seed: int = 0, vocab: int = VOCAB) -> mx.array:
    """A row of log-probabilities without ties."""
    logits = mx.random.normal((1, vocab), key=mx.random.key(seed)) * 2
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def token_of(sampled: mx.array) -> int:
    [token] = np.array(sampled).tolist()
    return int(token)


def draws(sampler: SeededSampler, count: int, seed: int = 0) -> list[int]:
    return [token_of(sampler(row(seed))) for _ in range(count)]


def kept(filtered: mx.array) -> set[int]:
    return set(np.flatnonzero(np.isfinite(np.array(filtered)[0])).tolist())


def test_greedy_takes_the_likeliest_of_each_row() -> None:
    rows = mx.concatenate([row(1), row(2)])

    taken = greedy(rows).tolist()

    assert taken == np.array(rows).argmax(axis=1).tolist()


def test_the_same_seed_draws_the_same_tokens() -> None:
    first = draws(SeededSampler(1.0, seed=7), 20)
    again = draws(SeededSampler(1.0, seed=7), 20)

    assert first == again
    assert len(set(first)) > 1


def test_another_seed_draws_other_tokens() -> None:
    assert draws(SeededSampler(1.0, seed=7), 20) != draws(SeededSampler(1.0, seed=8), 20)


def test_a_sampler_made_again_goes_on_where_the_first_was() -> None:
    whole = draws(SeededSampler(1.0, seed=3), 12)

    second_half = draws(SeededSampler(1.0, seed=3, drawn=5), 7)

    assert second_half == whole[5:]


def test_sampling_leaves_the_global_random_state_alone() -> None:
    mx.random.seed(5)
    expected = mx.random.uniform(shape=(4,)).tolist()

    mx.random.seed(5)
    draws(SeededSampler(0.8, seed=1, top_p=0.9, top_k=10, min_p=0.01), 5)

    assert mx.random.uniform(shape=(4,)).tolist() == expected


def test_draws_follow_the_probabilities() -> None:
    probs = [0.6, 0.3, 0.1]
    sampler = SeededSampler(1.0, seed=11)

    taken = [token_of(sampler(mx.log(mx.array([probs])))) for _ in range(2000)]

    shares = [taken.count(token) / 2000 for token in range(3)]
    assert shares == pytest.approx(probs, abs=0.05)


def test_a_low_temperature_is_close_to_greedy() -> None:
    assert set(draws(SeededSampler(1e-4, seed=1), 10)) == {token_of(greedy(row()))}


@given(st.integers(1, VOCAB - 1), st.integers(0, 20))
def test_top_k_keeps_the_k_likeliest(top_k: int, seed: int) -> None:
    order = np.array(row(seed))[0].argsort()[::-1]

    assert kept(keep_top_k(row(seed), top_k)) == set(order[:top_k].tolist())


@given(st.floats(0.01, 0.99), st.integers(0, 20))
def test_top_p_keeps_the_smallest_set_with_that_mass(top_p: float, seed: int) -> None:
    probs = np.exp(np.array(row(seed))[0].astype(np.float64))
    probs /= probs.sum()

    remaining = kept(keep_top_p(row(seed), top_p))

    mass = sum(probs[token] for token in remaining)
    least = min(probs[token] for token in remaining)
    assert mass >= top_p - 1e-4
    assert mass - least < top_p + 1e-4
    assert all(probs[token] < least for token in set(range(VOCAB)) - remaining)


@given(st.floats(0.001, 1.0), st.integers(0, 20))
def test_min_p_keeps_what_is_likely_enough(min_p: float, seed: int) -> None:
    probs = np.exp(np.array(row(seed))[0])

    remaining = kept(keep_min_p(row(seed), min_p))

    assert int(probs.argmax()) in remaining
    for token, prob in enumerate(probs / probs.max()):
        assert abs(prob - min_p) < 1e-4 or (token in remaining) == (prob > min_p)


def test_a_top_k_beyond_the_vocabulary_is_off() -> None:
    assert draws(SeededSampler(1.0, 4, top_k=10**9), 5) == draws(SeededSampler(1.0, 4), 5)


@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 10**6))
def test_keys_are_64_bit_and_differ_from_place_to_place(seed: int, place: int) -> None:
    key, following = token_key(seed, place), token_key(seed, place + 1)

    assert 0 <= key < 2**64
    assert key != following


def test_the_guard_keeps_the_first_error_and_goes_on_greedily() -> None:
    def broken(logprobs: mx.array) -> mx.array:
        raise ValueError(f"call {guard.error}")

    guard = Guard(broken)

    taken = guard(row()).item(), guard(row()).item()

    assert taken == (greedy(row()).item(),) * 2
    assert str(guard.error) == "call None"


def test_a_guarded_processor_that_raises_leaves_the_logits_as_they_are() -> None:
    def broken(tokens: mx.array, logits: mx.array) -> mx.array:
        raise ValueError("no")

    guard = Guard(broken)

    assert mx.array_equal(guard(mx.array([1]), row()), row())
    assert isinstance(guard.error, ValueError)
