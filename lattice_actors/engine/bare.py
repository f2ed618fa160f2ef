"""The limit a gateway can reach: mlx-lm's bare batch loop, in a process of its own.

    python -m lattice_actors.engine.bare MODEL_DIR --streams 8 --max-tokens 64 --runs 3

One run is template, tokenising, insertion, and steps until all streams have ended, greedy, with
mlx-lm's own defaults and no frames, guards or stop strings. It prints one JSON object.

With ``--serve-stdin`` a benchmark drives it, to interleave it with a server: it prints one
``ready`` line, then for each line ``{"streams", "max_tokens", "prompt" | "prompt_tokens"}``, or
``{"prompts": [one a stream], "max_tokens"}``, one line ``{"ttft_s": [per stream], "texts_at_s":
[[per stream]], "tokens_each": [per stream], "tokens", "seconds", "prompt_tokens"}``. A line that
is wrong is answered with ``{"error"}``. It ends with its input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from .loading import LoadedModel

FILLER = "The quick brown fox jumps over the lazy dog. "
QUESTION = "What is the capital of France?"


@attrs.frozen
class Run:
    """What one run took, from before the template on."""

    ttft_s: list[float]  # to the first text of each stream, or its end
    texts_at_s: list[list[float]]  # of each stream: when a step gave it text
    tokens_each: list[int]  # generated, of each stream
    tokens: int  # of all streams
    seconds: float
    prompt_tokens: int  # of one stream


class Bare:
    """One loaded model."""

    def __init__(self, path: Path) -> None:
        from . import blas

        self.blas = blas.prepare()
        from .loading import load

        self.loaded: LoadedModel = load(path, lambda stage: None)

    def run(self, texts: Sequence[str], max_tokens: int) -> Run:
        """Decode an answer to each of *texts*, in one batch."""
        from mlx_lm.generate import BatchGenerator

        tokenizer: Any = self.loaded.tokenizer  # mlx-lm's, with its own ways
        eos = [[token] for token in self.loaded.eos_token_ids]
        generator = BatchGenerator(self.loaded.model, stop_tokens=eos)
        begun = time.perf_counter()
        prompts = [self.tokenise(text) for text in texts]
        uids = generator.insert(prompts, max_tokens=[max_tokens] * len(prompts))
        detokenizers = dict(zip(uids, (tokenizer.detokenizer for _ in uids), strict=True))
        first: dict[int, float] = {}
        texts_at: dict[int, list[float]] = {uid: [] for uid in uids}
        tokens = dict.fromkeys(uids, 0)
        live = set(uids)
        while live:
            _, responses = generator.next()  # type: ignore[no-untyped-call]  # mlx-lm's
            for response in responses:
                tokens[response.uid] += 1
                detokenizer = detokenizers[response.uid]
                if response.finish_reason != "stop":
                    detokenizer.add_token(response.token)
                if response.finish_reason:
                    live.discard(response.uid)
                    detokenizer.finalize()
                text = detokenizer.last_segment
                if text or response.finish_reason:
                    now = time.perf_counter() - begun
                    first.setdefault(response.uid, now)
                    if text:
                        texts_at[response.uid].append(now)
        seconds = time.perf_counter() - begun
        generator.close()  # type: ignore[no-untyped-call]  # mlx-lm's
        return Run(
            [first[uid] for uid in uids],
            [texts_at[uid] for uid in uids],
            [tokens[uid] for uid in uids],
            sum(tokens.values()),
            seconds,
            len(prompts[0]),
        )

    def tokenise(self, prompt: str) -> list[int]:
        """Return the prompt as one user turn through the model's template."""
        tokenizer: Any = self.loaded.tokenizer
        messages = [{"role": "user", "content": prompt}]
        tokens: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        return tokens

    def prompt_of(self, tokens: int) -> str:
        """Return a prompt of about that many tokens, the template's included."""
        filler, least = "", len(self.tokenise(QUESTION))
        each = len(self.tokenise(FILLER + QUESTION)) - least
        if tokens > least:
            filler = FILLER * round((tokens - least) / max(1, each))
        return filler + QUESTION


def _serve_stdin(bare: Bare) -> None:
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            order = json.loads(line)
            run = bare.run(_texts(bare, order), int(order["max_tokens"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _print({"error": f"{type(error).__name__}: {error}"})
        else:
            _print(attrs.asdict(run))


def _texts(bare: Bare, order: dict[str, Any]) -> list[str]:
    texts = order.get("prompts")
    if texts is None:
        text = order.get("prompt") or bare.prompt_of(int(order.get("prompt_tokens", 0)))
        texts = [text] * int(order["streams"])
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("prompts are strings, at least one")
    return list(texts)


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m lattice_actors.engine.bare")
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=40)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--serve-stdin", action="store_true")
    parser.add_argument("--json", action="store_true", help="one line instead of an indented text")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    bare = Bare(options.model)
    if options.serve_stdin:
        _print({"ready": True, "blas": bare.blas})
        _serve_stdin(bare)
        return
    prompt = bare.prompt_of(options.prompt_tokens)
    runs = [
        attrs.asdict(bare.run([prompt] * options.streams, options.max_tokens))
        for _ in range(options.runs)
    ]
    text = json.dumps({"blas": bare.blas, "runs": runs}, indent=None if options.json else 2)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
