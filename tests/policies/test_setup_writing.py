"""What is proposed of what was found, and how it gets into a file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.catalog.entry import Kind, ModelEntry, Snapshot, Unusable
from lattice_actors.settings import SettingsFile, read
from lattice_http.setup.proposal import Folder, Known, Proposal, Table, make_proposal
from lattice_http.setup.servers import Address, Family, FoundModel, Server, place_of
from lattice_http.setup.writing import CannotAdd, added, fresh, shown_path, value

HOME = Path("/home/me")
STUDIO = Address("http://127.0.0.1:1234")


def server(family: Family, *models: str, url: str = STUDIO.url, **fields: object) -> Server:
    address = Address(url, **{k: str(v) for k, v in fields.items()})
    return Server(address, family, tuple(FoundModel(name) for name in models))


def folder(root: str, *models: str) -> Folder:
    return Folder(Path(root), Snapshot(tuple(ModelEntry(name) for name in models)))


def proposal_of(
    *servers: Server, folders: tuple[Folder, ...] = (), known: Known | None = None
) -> Proposal:
    return make_proposal(folders, servers, known or Known(), builtin=False)


def settings_of(text: str) -> dict[str, object]:
    settings = read({}, {"HOME": str(HOME)}, SettingsFile(Path("/etc/lattice.toml"), text)).settings
    said = [dict(table.said) for table in settings.upstream]
    return {"root": settings.model_root, "upstream": said, "roles": dict(settings.roles)}


# --- what is proposed ------------------------------------------------------------------------


def test_names_are_free_and_models_keep_them_in_roles() -> None:
    made = proposal_of(
        server(Family.OLLAMA, "llama3.2:3b", url="http://a:1"),
        server(Family.OLLAMA, "llama3.2:3b", url="http://b:1"),
        server(Family.VLLM, "big-70b", url="http://c:1", name="gpu"),
        known=Known({place_of("http://c:1"): "gpu"}),
    )

    assert [table.said["name"] for table in made.upstreams] == ["ollama", "ollama-2"]
    assert made.roles["fast"] == ("ollama-2/llama3.2:3b", "ollama/llama3.2:3b")
    assert made.roles["reasoner"] == ("gpu/big-70b",)


def test_a_known_place_gets_no_second_table() -> None:
    known = Known({place_of("http://localhost:1234"): "studio"})

    made = proposal_of(server(Family.LM_STUDIO, "m"), known=known)

    assert made.upstreams == ()
    assert made.roles == {"default": ("studio/m",)}


def test_a_server_without_a_chat_model_is_left_out() -> None:
    embedder = Server(STUDIO, Family.OLLAMA, (FoundModel("bge", chats=False),))

    assert proposal_of(embedder, server(Family.OLLAMA)) == Proposal()


def test_the_folder_with_the_most_models_is_taken_and_the_others_are_named() -> None:
    folders = (folder("/few", "a"), folder("/many", "b", "c"), folder("/none"))

    made = proposal_of(folders=folders)
    kept = proposal_of(folders=folders, known=Known(model_root=Path("/few")))

    assert made.model_root == Path("/many")
    assert "/few" in made.notes[0]
    assert made.roles == {"default": ("b", "c")}
    assert kept.model_root is None  # it is in the file already
    assert kept.roles == {"default": ("a",)}


def test_embedding_and_base_models_get_no_role() -> None:
    found = Snapshot(
        (ModelEntry("e", Kind.EMBEDDING), ModelEntry("base", has_chat_template=False)),
        (Unusable("broken", Path("/x"), "no tokenizer"),),
    )

    made = proposal_of(folders=(Folder(Path("/m"), found),))

    assert made == Proposal(model_root=Path("/m"))


def test_roles_from_elsewhere_are_left_alone() -> None:
    made = proposal_of(server(Family.VLLM, "m"), known=Known(own_roles=True))

    assert made.roles == {}
    assert "left alone" in made.notes[0]


def test_the_built_in_model_is_switched_on_only_where_nothing_else_is() -> None:
    assert make_proposal((), (), Known(), builtin=True) == Proposal(builtin=True)
    assert not make_proposal((), (server(Family.VLLM, "m"),), Known(), builtin=True).builtin


def test_a_key_is_named_and_never_written() -> None:
    made = proposal_of(server(Family.VLLM, "m", key_env="GPU_KEY"))

    assert made.upstreams[0].said["api_key_env"] == "GPU_KEY"


# --- how it is written -----------------------------------------------------------------------

NAMES = st.text("ab-/\"\\'#\n\x7f\x1fé🦙]", min_size=1, max_size=6)
TABLES = st.builds(
    lambda number, family, slots: Table(
        family,
        {"name": f"s{number}", "url": f"http://h{number}:1", "model_concurrency": slots},
    ),
    st.integers(0, 99),
    st.sampled_from(["LM Studio", "vLLM"]),
    st.integers(0, 9),
)
PROPOSALS = st.builds(
    Proposal,
    model_root=st.none() | st.sampled_from([Path("/models"), HOME / "a b", HOME / 'q"ö']),
    upstreams=st.lists(TABLES, max_size=3, unique_by=lambda table: str(table.said["name"])).map(
        tuple
    ),
    roles=st.dictionaries(
        st.sampled_from(["default", "coder", "a b", "ö"]),
        st.lists(NAMES.filter(str.strip), min_size=1, max_size=3, unique=True).map(tuple),
    ),
)
FILES = st.sampled_from(
    [
        "",
        "# mine\nport = 7  # here\n",
        'model_root = "/old"  # was\nport = 7\n\n[swarm.presets]\nwise = ["auto"]',
        (
            '[[upstream]]\nname = "mine"\nurl = "http://mine:1"  # mine\n\n[roles]\n'
            'coder = [\n  "mine/x",\n  "coder",\n]\nwriter = "mine/y"\n\n[anthropic]\nmodel = "c"\n'
        ),
        '[roles]\n"Coder" = "x"',
    ]
)


@given(PROPOSALS)
def test_what_is_written_is_what_is_read(proposal: Proposal) -> None:
    got = settings_of(fresh(proposal, HOME))

    assert got["root"] == proposal.model_root
    assert got["upstream"] == [dict(table.said) for table in proposal.upstreams]
    assert got["roles"] == {
        role: tuple(stripped for name in names if (stripped := name.strip()))
        for role, names in proposal.roles.items()
    }


@given(FILES, PROPOSALS)
def test_what_was_there_stays_and_doing_it_again_changes_nothing(
    text: str, proposal: Proposal
) -> None:
    after = added(text, proposal, HOME)
    before, now = tomllib.loads(text), tomllib.loads(after)

    for key, item in before.items():
        if key not in ("model_root", "upstream", "roles"):
            assert now[key] == item
    assert now.get("upstream", [])[: len(before.get("upstream", []))] == before.get("upstream", [])
    for role, entries in before.get("roles", {}).items():
        listed = [entries] if isinstance(entries, str) else entries
        kept = now["roles"][role]
        assert ([kept] if isinstance(kept, str) else kept)[: len(listed)] == listed
    assert all(f"# {word}" in after for word in ("mine", "here") if f"# {word}" in text)
    settings_of(after)  # is accepted
    again = Proposal(model_root=proposal.model_root, roles=proposal.roles)
    assert added(after, again, HOME) == after


def test_new_models_come_behind_those_of_the_file() -> None:
    text = '[roles]\ncoder = ["coder"]\nmine = ["ollama/b"]\n'
    proposal = Proposal(roles={"coder": ("ollama/a", "ollama/b"), "fast": ("ollama/b",)})

    roles = tomllib.loads(added(text, proposal, HOME))["roles"]

    # What a person has put elsewhere stays there.
    assert roles == {"coder": ["coder", "ollama/a"], "mine": ["ollama/b"], "fast": ["ollama/b"]}


@pytest.mark.parametrize("text", ['upstream = "a=http://a:1"\n', "upstream = []\n"])
def test_what_cannot_be_added_to_is_refused(text: str) -> None:
    proposal = Proposal(upstreams=(Table("vLLM", {"name": "b", "url": "http://b:1"}),))

    with pytest.raises(CannotAdd):
        added(text, proposal, HOME)


def test_paths_begin_at_home_where_they_can() -> None:
    assert shown_path(HOME / "models", HOME) == "~/models"
    assert shown_path(HOME, HOME) == "/home/me"
    assert shown_path(Path("/srv/models"), HOME) == "/srv/models"


def test_values_of_every_kind() -> None:
    said = {"a": True, "b": 0.5, "c": [1, "x\x7f\u2028"], "d": 'q"\\\n'}
    text = "".join(f"{key} = {value(item)}\n" for key, item in said.items())

    assert tomllib.loads(text) == said
