"""Memory, or something else?"""

from __future__ import annotations

import pytest

from lattice_actors.residency.oom import died_of_memory, kernel_kills, says_oom


@pytest.mark.parametrize(
    "text",
    [
        "Out of memory",
        "libc++abi: terminating: [METAL] Command buffer failed: OOM",
        "RESOURCE_EXHAUSTED: cannot allocate",
        "terminate called after throwing std::bad_alloc",
        "mps backend out of memory",
        "The model would likely overload your system",
    ],
)
def test_words_that_speak_of_memory(text: str) -> None:
    assert says_oom(text)


@pytest.mark.parametrize(
    "text", ["zoom", "room for one", "killing time", "", "connection killed by peer", "bloom"]
)
def test_words_that_do_not(text: str) -> None:
    assert not says_oom(text)


def test_a_kill_is_the_kernels_only_if_it_counted_one() -> None:
    assert died_of_memory(-9, [], kills=1)
    assert not died_of_memory(-9, [], kills=0)
    assert not died_of_memory(-11, [], kills=1)
    assert died_of_memory(1, ["std::bad_alloc"], kills=0)


def test_the_kernel_can_be_asked() -> None:
    assert kernel_kills() >= 0
