"""The examples below the help of each command. Pure; a test parses every one of them."""

from __future__ import annotations

from collections.abc import Mapping

import lattice_bench.examples

PROGRAM = ""  # the key of the program itself

# By command: the line, and what it is for.
EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    PROGRAM: (
        ("serve", "on http://127.0.0.1:5001, with the models that are found"),
        ("models", "what can be served, and what cannot, and why"),
        ("serve --help", "every command has examples of its own"),
    ),
    "serve": (
        ("serve --model-root ~/models --preload auto", "a folder of models, the default loaded"),
        ("serve --model ~/models/Qwen3-4B-4bit", "one model, whatever name requests use"),
        ("serve --upstream gpu=http://192.168.1.20:8000", "another server's models, too"),
    ),
    "config": (
        ("config", "every setting in effect, and where it comes from"),
        ("config --port 8080 --json", "the same with a flag of serve, for programs"),
    ),
    "top": (
        ("top", "follow the server on this machine"),
        ("top --base-url http://mac.local:5001 --once", "one look at another one"),
        ("top --once --json", "the state as JSON"),
    ),
    "init": (
        ("init --dry-run", "what would be written for what is found on this machine"),
        ("init", "write it"),
    ),
    "doctor": (
        ("doctor", "what is wrong on this machine, and what to do"),
        ("doctor --json", "the same for programs"),
    ),
    "models": (
        ("models", "state, size, memory and context of each"),
        ("models --json", "the same for programs"),
        ("models pull mlx-community/Qwen3-4B-4bit", "get one"),
    ),
    "models pull": (
        ("models pull mlx-community/Qwen3-4B-4bit", "into the first folder of models"),
        ("models pull mlx-community/Qwen3-4B-4bit --to ~/models", "into another"),
        ("models pull mlx-community/Qwen3-4B-4bit --revision main", "a branch, tag or commit"),
    ),
    "models inspect": (
        ("models inspect qwen3-4b", "by a part of its id"),
        ("models inspect ~/models/Qwen3-4B-4bit --json", "by its directory, for programs"),
    ),
    "models clean": (
        ("models clean --dry-run", "what would be removed"),
        ("models clean --incomplete --yes", "downloads that never ended, too, and no question"),
    ),
    "completion": (
        ("completion bash > ~/.local/share/bash-completion/completions/lattice-trio", "Bash"),
        ("completion zsh > ~/.zfunc/_lattice-trio", "Zsh, where ~/.zfunc is in fpath"),
        ("completion fish > ~/.config/fish/completions/lattice-trio.fish", "fish"),
    ),
}


def epilogue(command: str) -> str:
    """Return what stands below the help of *command*."""
    return lattice_bench.examples.epilogue(command, EXAMPLES)
