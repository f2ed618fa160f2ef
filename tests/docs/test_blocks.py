"""The extractor of code blocks: what is a block, what is said of it, and that nothing escapes."""

from __future__ import annotations

import pytest

from tests.docs.blocks import Block, blocks, complaint

PAGE = """\
# Title

    ./scripts/serve     # indented

Text, `code`.

    lattice
    └─ a tree

- item

    still the item

<!-- not run: needs Docker -->
```bash
docker run x
```

<!-- run with: a real model -->
<!-- prints: Paris -->
```python
print("Paris")

    # kept as it is
```
<!-- prints: lost -->
Text between.
```json
{}
```
```
curl -s http://127.0.0.1:5001/
```
"""


def test_blocks_have_their_language_their_line_and_what_is_said_of_them() -> None:
    found = blocks(PAGE)

    assert [(block.line, block.language) for block in found] == [
        (3, "sh"),
        (7, "text"),
        (16, "bash"),
        (22, "python"),
        (29, "json"),
        (32, "sh"),
    ]
    assert found[0].code == "./scripts/serve     # indented"
    assert found[2].excuse == "needs Docker"
    assert (found[3].real, found[3].said[1]) == (True, ("prints", "Paris"))
    assert found[3].code == 'print("Paris")\n\n    # kept as it is'
    assert found[4].said == ()  # a comment is of the block right behind it


@pytest.mark.parametrize(
    "line",
    [
        "curl -s x",
        "lattice-trio serve",
        "KEY=1 lattice-trio serve",
        "front$ KEY=1 lattice-trio serve",
        "pip install openai",
        ".venv/bin/lattice-trio top",
    ],
)
def test_commands_cannot_hide_in_a_block_of_text(line: str) -> None:
    [block] = blocks(f"```text\n{line}\n```")

    assert block.is_shell


@pytest.mark.parametrize("line", ["curl: a tool", "request ──► session", "a = b", "python_x"])
def test_text_is_text(line: str) -> None:
    [block] = blocks(f"```text\n{line}\n```")

    assert block.language == "text"


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ((("not run", "needs Docker"),), True),
        ((("not run", "needs another server, a vLLM"),), True),
        ((("not run", "no time"),), False),
        ((("not run", ""),), False),
        ((("runs", "never"),), False),
        ((("run with", "luck"),), False),
        ((("exits with", "one"),), False),
        ((("exits with", "1"), ("prints", "x")), True),
        ((("not run", "needs Docker"), ("prints", "x")), False),
    ],
)
def test_what_is_said_is_of_a_fixed_set(said: tuple[tuple[str, str], ...], right: bool) -> None:
    block = Block(1, "bash", "true", said)

    assert (complaint(block) is None) is right
