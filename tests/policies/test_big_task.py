"""The rule that says which tasks are big, line by line as it is documented."""

from __future__ import annotations

import pytest

from lattice_actors.capability.big_task import BigTask, text_of

RULE = BigTask()
LONG = "word " * 80


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", None),
        ("   \n", None),
        ("hello there", None),
        ("word " * 79, None),
        (LONG, "80 words"),
        ("x" * 499, None),
        ("x" * 500, "500 characters"),
        ("- a\n* b\n1. c", None),
        ("- a\n* b\n1. c\n 22. d", "4 list lines"),
        ("-a\n*b\n1.c\n2.d", None),
        ("a roadmap with a milestone", None),
        ("A Roadmap, with a milestone and RISKS", "3 words of a plan"),
        ("phase phase phase", None),
        ("step one, end-to-end, with trade-offs", "3 words of a plan"),
        *((LONG + sign, None) for sign in "{}();[]"),
        *(
            (LONG + word, None)
            for word in (
                *("def", "Class", "function", "var", "let", "const", "import", "from"),
                *("Traceback", "#include", "stack trace", "```"),
            )
        ),
        (LONG + "definitely lets classy important", "84 words"),
    ],
)
def test_the_table(text: str, why: str | None) -> None:
    assert RULE.why(text) == (why and f"big task: {why}")


def test_thresholds_can_be_set() -> None:
    assert BigTask(words=2).why("two words") == "big task: 2 words"
    assert BigTask(chars=3).why("abc") == "big task: 3 characters"
    assert BigTask(bullets=1).why("- a") == "big task: 1 list lines"
    assert BigTask(step_markers=1).why("phase") == "big task: 1 words of a plan"


def test_it_reads_what_the_user_and_the_system_say() -> None:
    turns = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "{}"},
        {"role": "tool", "content": "{}"},
    ]

    assert text_of(turns) == "one\ntwo"
