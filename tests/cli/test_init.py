"""`lattice-trio init`: what it finds, shows, writes, and leaves alone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lattice_actors.engine import builtin
from lattice_http.cli.program import main
from tests.cli import stand_ins
from tests.cli.stand_ins import stand_in
from tests.end_to_end import serving

SEARCH = "--no-search"  # other people's servers may be on the usual ports here


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run in an empty directory that is also the home, with no variables but the path."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package")  # not on every machine
    return tmp_path


def model(folder: Path, *, whole: bool = True) -> None:
    """A folder that looks like a model; whether it would load is not what is asked here."""
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 8}
    config |= {"num_attention_heads": 2, "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = len(head).to_bytes(8, "little") + head + b"\0\0\0\0"
    (folder / "model.safetensors").write_bytes(content if whole else content[:9])


@contextmanager
def everybody() -> Iterator[list[str]]:
    """All the servers; yields the flags that name them."""
    kinds = (
        (stand_ins.LM_STUDIO, "-"),
        (stand_ins.OLLAMA, "-"),
        (stand_ins.LLAMA_CPP, "llama.cpp"),
        (stand_ins.MLX_LM, ""),
        (stand_ins.VLLM, "uvicorn"),
    )
    with ExitStack() as stack:
        urls = [stack.enter_context(stand_in(*kind)) for kind in kinds]
        yield [word for url in urls for word in ("--url", url)]


def config(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["config", "--json", *args]) == 0
    settings: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)["settings"]
    return settings


def test_everything_found_is_written_and_accepted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model(home / ".lmstudio" / "models" / "org" / "Qwen3-4B-MLX")
    model(home / ".lmstudio" / "models" / "org" / "Broken", whole=False)
    with everybody() as flags:
        code = main(["init", SEARCH, "--model-root", "~/.lmstudio/models", *flags])

    printed = capsys.readouterr().out
    text = (home / "lattice.toml").read_text()
    assert code == 0
    assert "~/.lmstudio/models: 1 model, 1 cannot be used" in printed
    assert "org/Broken cannot be used: " in printed
    assert "LM Studio: 3 models, 1 loaded, 1 not for chats" in printed
    assert "+[[upstream]]  # mlx_lm.server" in printed
    assert "lattice-trio serve " in printed
    settings = config(capsys)
    assert settings["model_root"]["value"] == str(home / ".lmstudio" / "models")
    names = [pair.split("=")[0] for pair in str(settings["upstream"]["value"]).split(",")]
    assert names == ["lmstudio", "ollama", "llamacpp", "mlx-lm", "vllm"]
    roles = {str(role): ids for role, ids in settings["roles"]["value"]}  # type: ignore[attr-defined]
    assert roles["coder"][0] == "lmstudio/qwen2.5-coder-7b-instruct"
    assert roles["reasoner"][0] == "ollama/deepseek-r1:70b"
    assert roles["default"][:2] == ["lmstudio/mistral-nemo", "mlx-lm//models/big"]  # loaded first
    assert "org/Qwen3-4B-MLX" in roles["fast"]
    assert "concurrency = 4  # its slots" in text


def test_the_usual_places_are_looked_at(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(home / ".cache" / "mlx-models" / "mine")

    assert main(["init", "--dry-run"]) == 0

    printed = capsys.readouterr().out
    assert "~/.cache/mlx-models: 1 model" in printed
    assert all(f"http://127.0.0.1:{port}: " in printed for port in (1234, 11434, 8080, 8081, 8000))


def test_a_dry_run_shows_the_same_and_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--dry-run", "--url", url]) == 0

    assert f'+url = "{url}"' in capsys.readouterr().out
    assert list(home.iterdir()) == []


def test_a_file_that_is_there_is_changed_only_with_force_and_keeps_what_it_says(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "lattice.toml"
    file.write_text("port = 7  # mine\n")
    file.chmod(0o600)
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--url", url]) == 1
        assert file.read_text() == "port = 7  # mine\n"
        assert "--force makes the change" in capsys.readouterr().err

        assert main(["init", SEARCH, "--url", url, "--force"]) == 0
        assert file.read_text().startswith("port = 7  # mine\n")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "http://127.0.0.1:7/v1" in capsys.readouterr().out

        # The server stands in the file now: it is looked at by itself, and there is no news.
        assert main(["init", SEARCH]) == 0
        printed = capsys.readouterr().out
        assert "vLLM [vllm]: 1 model" in printed
        assert "has all of it already" in printed
    assert [entry.name for entry in home.iterdir()] == ["lattice.toml"]


def test_a_file_that_serve_would_refuse_is_replaced_with_force(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "lattice.toml").write_text("prot = 7\n")
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--url", url]) == 1
        assert "prot" in capsys.readouterr().err
        assert main(["init", SEARCH, "--url", url, "--force"]) == 0

    assert config(capsys)["upstream"]["value"] == f"vllm={url}"


def test_a_link_stays_a_link(home: Path) -> None:
    (home / "dotfiles").mkdir()
    real = home / "dotfiles" / "lattice.toml"
    real.write_text("")
    (home / "lattice.toml").symlink_to(real)
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--url", url, "--force"]) == 0

    assert (home / "lattice.toml").is_symlink()
    assert "vllm" in real.read_text()


def test_another_file_is_named_in_what_to_do_next(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--url", url, "--output", "my settings.toml"]) == 0

    assert "serve --config 'my settings.toml'" in capsys.readouterr().out
    assert config(capsys, "--config", "my settings.toml")["upstream"]["value"] == f"vllm={url}"


def test_where_nothing_is_nothing_is_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = stand_in({"/v1/models": {"data": []}})
    web = stand_in({"": "<html>"})
    with empty as no_models, web as pages:
        urls = (no_models, pages, "http://127.0.0.1:1")
        code = main(["init", SEARCH, *(word for url in urls for word in ("--url", url))])

    printed = capsys.readouterr().out
    assert code == 1
    assert list(home.iterdir()) == []
    assert "without models yet" in printed
    assert "not with a list of models" in printed
    assert "nobody listens there" in printed
    assert builtin.INSTALL in printed


def test_with_the_built_in_model_alone_there_is_something_to_write(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = home / "site" / "installed"
    package.mkdir(parents=True)
    (package / builtin.GGUF).write_text("")
    monkeypatch.setattr(builtin, "PACKAGE", "installed")
    monkeypatch.syspath_prepend(str(home / "site"))

    assert main(["init", SEARCH]) == 0

    assert config(capsys)["builtin"] == {"value": True, "origin": "lattice.toml"}


def test_a_key_is_sent_but_never_written(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_KEY", "open-sesame")
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--url", url, "--key-env", "GPU_KEY"]) == 0

    printed = capsys.readouterr()
    text = (home / "lattice.toml").read_text()
    assert 'api_key_env = "GPU_KEY"' in text
    assert "sesame" not in text + printed.out + printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "127.0.0.1:1234"], "--url must be an address such as http://"),
        (["--url", "http://me:key@host"], "--url must not have a key in it"),
        (["--key-env", "sk-123 4", "--url", "http://127.0.0.1:1"], "--key-env must be the name"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", SEARCH, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_variable_that_goes_before_the_file_is_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATTICE_UPSTREAM", "other=http://127.0.0.1:1")
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--url", url]) == 0

    assert "LATTICE_UPSTREAM is set in the environment and goes before" in capsys.readouterr().err


def test_a_variable_that_is_wrong_is_not_blamed_on_the_file(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "lattice.toml").write_text("port = 7\n")
    monkeypatch.setenv("LATTICE_HOST", "")
    monkeypatch.setenv("LATTICE_PORT", "x")

    assert main(["init", SEARCH, "--force"]) == 2

    said = capsys.readouterr().err
    assert "LATTICE_PORT must be" in said
    assert "keeps nothing" not in said
    assert (home / "lattice.toml").read_text() == "port = 7\n"


def test_the_studio_of_the_environment_is_not_named_twice(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stand_in(stand_ins.LM_STUDIO) as url:
        monkeypatch.setenv("LM_STUDIO_URL", url)
        assert main(["init", SEARCH]) == 0

    text = (home / "lattice.toml").read_text()
    assert "[[upstream]]" not in text
    assert '"lmstudio/mistral-nemo"' in text
    assert config(capsys)["lm_studio_url"]["value"] == url


def test_an_old_file_of_roles_stays_in_force(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "mlx_roles.json").write_text('{"coder": "mine"}')
    with stand_in(stand_ins.VLLM) as url:
        assert main(["init", SEARCH, "--url", url]) == 0

    assert "[roles]" not in (home / "lattice.toml").read_text()
    assert "roles are left alone" in capsys.readouterr().err


def test_a_server_starts_with_what_was_written_and_answers_by_role(home: Path) -> None:
    with stand_in(stand_ins.LM_STUDIO) as url:
        assert main(["init", SEARCH, "--url", url]) == 0
        served = serving.start("--config", str(home / "lattice.toml"), HOME=str(home))
        try:
            served.wait_until_listening()
            loaded, asleep = (served.chat(model=f"role:{role}") for role in ("default", "coder"))

            assert loaded.status_code == 200, loaded.text
            assert loaded.headers["x-model-routed-to"] == "local/mistral-nemo"
            assert loaded.json()["choices"][0]["message"]["content"] == "hi there"
            # LM Studio has it, but not in memory.
            assert asleep.headers["x-model-routed-to"] == "local/qwen2.5-coder-7b-instruct"
        finally:
            served.stop()
            served.client.close()
            assert served.process.stderr is not None
            served.process.stderr.close()
