"""Getting models, from a stand-in for the hub: what is fetched, what is refused, and going on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.catalog import discovery
from lattice_actors.catalog.entry import Snapshot
from lattice_bench.echo_model import write_echo_model
from lattice_http.cli.models import files as choosing
from lattice_http.cli.models.files import NotLoadable, RemoteFile
from lattice_http.cli.models.hub import Hub, HubProblem
from lattice_http.cli.models.pull import DRAFTS, Pulled, PullFailed, pull
from lattice_http.cli.program import main
from tests.cli.stand_in_hub import COMMIT, StandIn, stand_in

REPO = "some-one/Tiny-4bit"


class Quiet:
    """Who is told how it goes."""

    def __init__(self) -> None:
        self.lines = list[str]()
        self.total = self.got = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def begin(self, total_bytes: int) -> None:
        self.total = total_bytes

    def advance(self, count: int) -> None:
        self.got += count


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    # Its pieces have 10 MB, and what came of one is lost with the connection.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50)
    with stand_in() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setattr(constants, "ENDPOINT", served.url)  # whatever it asks, it asks there
        written = write_echo_model(tmp_path / "written")
        content = {path.name: path.read_bytes() for path in written.iterdir()}
        extra = {
            "README.md": b"read me",
            "modeling.py": b"import os",
            "consolidated.safetensors": bytes(300),
            "pytorch_model.bin": bytes(300),
            "onnx/model.onnx": bytes(300),
        }
        served.repositories[REPO] = content | extra
        yield served


def got(hub: StandIn, root: Path, *, room: int = 10**12, progress: Quiet | None = None) -> Pulled:
    return pull(REPO, None, root, Hub(hub.url), progress or Quiet(), lambda folder: room)


def test_a_model_comes_whole_and_without_what_mlx_does_not_need(
    hub: StandIn, tmp_path: Path
) -> None:
    root, progress = tmp_path / "root", Quiet()

    pulled = got(hub, root, progress=progress)

    assert pulled.path == root / "some-one" / "Tiny-4bit"
    assert sorted(path.name for path in pulled.path.iterdir()) == [
        *("config.json", "echo.json", "model.safetensors", "tokenizer.json"),
        "tokenizer_config.json",
    ]
    assert [model.id for model in discovery.scan(root).models] == [REPO]
    assert list(root.iterdir()) == [root / "some-one"]  # nothing is left beside it
    assert progress.got == progress.total == pulled.got_bytes > 0
    assert hub.fetched()[0] == "config.json"
    assert hub.fetched()[-1] == "model.safetensors"
    assert all(REPO in path for _, path, _ in hub.asked)  # nothing else is told or asked


def test_a_second_pull_compares_and_fetches_nothing(hub: StandIn, tmp_path: Path) -> None:
    got(hub, tmp_path / "root")
    hub.asked.clear()

    again = got(hub, tmp_path / "root")

    assert again.got_bytes == 0
    assert hub.fetched() == []


def test_a_directory_with_other_content_is_left_alone(hub: StandIn, tmp_path: Path) -> None:
    path = got(hub, tmp_path / "root").path
    (path / "config.json").write_text("mine")

    with pytest.raises(PullFailed, match=r"differs in 1 files \(config.json\)"):
        got(hub, tmp_path / "root")

    assert (path / "config.json").read_text() == "mine"


def test_a_connection_that_breaks_is_taken_up_where_it_was(hub: StandIn, tmp_path: Path) -> None:
    hub.cut_after["model.safetensors"] = 100

    got(hub, tmp_path / "root")

    assert hub.ranges() == ["bytes=100-"] * 2  # the address and what it leads to


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_an_interrupted_pull_goes_on_in_the_middle_of_a_file(
    hub: StandIn, tmp_path: Path, *, ignores_ranges: bool
) -> None:
    root = tmp_path / "root"

    class Impatient(Quiet):
        def advance(self, count: int) -> None:
            super().advance(count)
            if self.total - self.got < 150:  # in the last file, with some of it written
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        got(hub, root, progress=Impatient())
    (part,) = (root / DRAFTS).rglob("*.part")
    had = part.stat().st_size
    assert discovery.scan(root) == Snapshot(root=root)
    hub.asked.clear()
    hub.ignores_ranges = ignores_ranges
    progress = Quiet()

    pulled = got(hub, root, progress=progress)

    weights = hub.repositories[REPO]["model.safetensors"]
    assert (pulled.path / "model.safetensors").read_bytes() == weights
    assert set(hub.fetched()) == {"model.safetensors"}
    assert set(hub.ranges()) == {f"bytes={had}-"}
    assert progress.total == len(weights) - had < len(weights)
    assert progress.got == progress.total


def test_what_an_older_commit_left_is_not_mixed_in(hub: StandIn, tmp_path: Path) -> None:
    draft = tmp_path / "root" / DRAFTS / "some-one--Tiny-4bit"
    draft.mkdir(parents=True)
    (draft / "model.safetensors").write_bytes(b"old")
    (draft / "model-00002.safetensors").write_bytes(b"of other weights")
    (draft / "model.safetensors.0000000000000000.part").write_bytes(b"of another commit")

    pulled = got(hub, tmp_path / "root")

    assert len(list(pulled.path.iterdir())) == 5
    assert isinstance(discovery.examine(pulled.path, REPO), type(pulled.entry))


def test_damaged_bytes_are_seen_and_not_kept(hub: StandIn, tmp_path: Path) -> None:
    hub.damaged.add("model.safetensors")

    with pytest.raises(PullFailed, match=r"model.safetensors came damaged .*; pull again"):
        got(hub, tmp_path / "root")

    hub.damaged.clear()
    assert got(hub, tmp_path / "root").path.is_dir()


def test_a_pull_that_does_not_fit_gets_nothing(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r" are needed in .*, 7 B are free"):
        got(hub, tmp_path / "root", room=7)

    assert hub.fetched() == []
    assert list((tmp_path / "root").iterdir()) == []


def test_what_mlx_cannot_run_is_refused_after_its_config(hub: StandIn, tmp_path: Path) -> None:
    hub.repositories[REPO]["config.json"] = json.dumps({"model_type": "nobody-knows"}).encode()

    with pytest.raises(PullFailed, match="cannot be run here: mlx-lm does not know the arch"):
        got(hub, tmp_path / "root")

    assert hub.fetched() == ["config.json"]
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["config.json", "a.gguf"], "it holds GGUF weights; MLX needs model"),
        (["config.json", "pytorch_model.bin"], "it holds PyTorch weights"),
        (["config.json", "consolidated.safetensors"], "its weights are not called"),
        (["README.md"], "it has no weights"),
        (["model.safetensors", "tokenizer.json"], "it has no config.json"),
        (["model.safetensors", "config.json"], "it has no tokenizer"),
    ],
)
def test_a_repository_without_an_mlx_model_is_refused_by_its_names(
    names: list[str], why: str
) -> None:
    with pytest.raises(NotLoadable, match=why):
        choosing.check([RemoteFile(name, 1) for name in names])


@given(st.lists(st.text(max_size=20) | st.sampled_from(["../a.json", "a/b.json", "\\a.json"])))
def test_no_name_leads_out_of_the_folder(names: list[str]) -> None:
    chosen = choosing.needed([RemoteFile(name, 1) for name in names])

    assert all(".." not in Path(file.name).parts for file in chosen)
    assert not any(Path(file.name).is_absolute() or "\\" in file.name for file in chosen)


def test_the_steps_of_a_sentence_transformer_come_along() -> None:
    names = ["modules.json", "1_Pooling/config.json", "onnx/config.json", "vocab.txt", "a.py"]

    chosen = choosing.needed([RemoteFile(name, 1) for name in names])

    assert [file.name for file in chosen] == ["1_Pooling/config.json", "modules.json", "vocab.txt"]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a/b", True), ("mlx-community/Qwen3-4B-4bit", True), ("b", False), ("a/b/c", False),
     ("../b", False), ("a/..", False), ("a/b.", False), ("a b/c", False), ("a/" + "b" * 95, False)],
)  # fmt: skip
def test_what_is_a_repository(name: str, *, is_one: bool) -> None:
    assert choosing.is_repository(name) == is_one


def test_a_gated_repository_says_where_its_terms_are(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add(REPO)

    with pytest.raises(HubProblem, match=f"is gated: accept its terms at {hub.url}/{REPO}, and"):
        got(hub, tmp_path / "root")
    assert not (tmp_path / "root" / DRAFTS).exists()
    monkeypatch.setenv("HF_TOKEN", hub.token)

    assert got(hub, tmp_path / "root").path.is_dir()


def test_missing_and_private_repositories_are_told_as_such(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.private.add(REPO)

    with pytest.raises(HubProblem, match=r"there is no repository .*; a private one opens with"):
        got(hub, tmp_path)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with pytest.raises(HubProblem, match="no repository no/where that your token may see"):
        Hub(hub.url).look("no/where", None)
    with pytest.raises(HubProblem, match="has no revision v9"):
        Hub(hub.url).look(REPO, "v9")

    assert Hub(hub.url).look(REPO, None).commit == COMMIT


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not know your token"),
        (403, "your token may not read"),
        (429, "too many requests"),
        (503, "answers 503 .*; try again later"),
    ],
)
def test_each_refusal_of_the_hub_says_what_to_do(hub: StandIn, status: int, said: str) -> None:
    hub.broken_with = status

    with pytest.raises(HubProblem, match=said):
        Hub(hub.url).look(REPO, None)


def test_a_hub_out_of_reach_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    code = main(["models", "pull", REPO, "--to", str(tmp_path / "root")])

    said = capsys.readouterr().err.splitlines()
    assert code == 1
    assert said[-1].startswith("lattice-trio: cannot reach http://127.0.0.1:9 (")
    assert "are you online?" in said[-1]


def test_the_command_tells_what_it_got(
    hub: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["models", "pull", REPO, "--to", str(tmp_path / "root")])

    said = capsys.readouterr()
    assert code == 0
    assert said.out == f"{REPO} got {tmp_path}/root/{REPO}\n"
    assert f"{REPO} at {COMMIT[:12]}: 5 files" in said.err
    assert "kB of" in said.err or " B of" in said.err


def test_what_is_no_repository_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "qwen"]) == 2
    assert "'qwen' is no repository: write OWNER/NAME" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(
    hub: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")

    assert main(["models", "pull", REPO, "--to", str(tmp_path / "file" / "root")]) == 1
    assert "cannot write to" in capsys.readouterr().err.splitlines()[-1]
