"""Reading the settings: precedence, the predecessor's variables, and wrong values in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.remote.spend import Price
from lattice_actors.settings import (
    NO_EFFECT,
    SETTINGS,
    TIERS,
    Kind,
    Settings,
    SettingsError,
    SettingsFile,
    UpstreamTable,
    grouped,
    read,
)

# Every variable that Local Lattice 0.3 reads.
PREDECESSOR_TEXT = """
    HOST PORT MIDDLE_LAYER_API_KEY MIDDLE_LAYER_ALLOW_PUBLIC_NO_AUTH
    MIDDLE_LAYER_MAX_REQUEST_BYTES CORS_ORIGINS LATTICE_LOG_TIMING MLX_MODEL_ROOT DEFAULT_MODEL
    MLX_FORCE_DEFAULT_MODEL ON_MODEL_MISS EXTRA_PLACEHOLDER_MODELS MODEL_ROLES_JSON
    MODEL_ROLES_FILE MODEL_PROFILES_FILE MAX_CONCURRENT_MODELS PRELOAD_MODELS
    MAX_PARALLEL_MODEL_CALLS DEFAULT_MAX_TOKENS MAX_TOKENS_CEILING GENERATION_TIMEOUT
    MLX_CONTEXT_OVER_BUDGET MLX_CONTEXT_TRIM_BUFFER MLX_ROUTE_LONG_PROMPT_CHARS
    MLX_PER_MODEL_INFLIGHT_CAP MLX_PER_MODEL_ADMISSION_CAP MLX_QUEUE_MAX_PER_MODEL
    MLX_QUEUE_MAX_TOTAL MLX_QUEUE_WAIT_TIMEOUT_SEC MLX_QUEUE_RETRY_AFTER_SEC
    MLX_QUEUE_RETRY_JITTER_SEC MLX_QUEUE_PRIORITY_MIN MLX_QUEUE_PRIORITY_MAX
    MLX_QUEUE_DEFAULT_PRIORITY MLX_FORCE_GC_ON_EVICT MLX_SKIP_STARTUP_MODEL_PROMPT
    MLX_SKIP_STARTUP_ROOT_PROMPT MLX_GRAB_MODEL MLX_GRAB_DISPLAY_NAME MLX_GRAB_CACHE
    MLX_DASHBOARD_ENABLED MLX_DASHBOARD_PREVIEW_CHARS MLX_DASHBOARD_MAX_EVENTS
    MLX_DASHBOARD_MAX_ERROR_CHARS MLX_DASHBOARD_MAX_PROMPT_CHARS MLX_DASHBOARD_CAPTURE_PROMPTS
    SWARM_CHAT_ENABLED SWARM_CHAT_DEFAULT_MODELS SWARM_CHAT_DEFAULT_STRATEGY
    SWARM_CHAT_DEFAULT_JUDGE SWARM_CHAT_AUTO_MAX SWARM_STREAM_CHUNK_CHARS SWARM_PER_CALL_TIMEOUT
    SWARM_FANOUT_TIMEOUT LM_STUDIO_URL MODEL_LIST_TTL PREFER_LOADED_MODELS
    LM_STUDIO_PER_MODEL_INFLIGHT_CAP ANTHROPIC_API_KEY ANTHROPIC_BASE_URL ANTHROPIC_MODEL
    ANTHROPIC_VERSION ANTHROPIC_AUTO_ROUTE BIG_TASK_MIN_WORDS BIG_TASK_MIN_CHARS
    BIG_TASK_MIN_BULLETS BIG_TASK_MIN_STEP_MARKERS USE_LITELLM_FOR_ANTHROPIC
    ENABLE_LITELLM_PREFIX_ROUTING LITELLM_TIMEOUT_SECONDS MAX_WORKERS
"""
PREDECESSOR = PREDECESSOR_TEXT.split()

NO_LIST_OF_TEXTS = "must be a list of texts, not [1]"
PRIORITIES_OUT_OF_ORDER = (
    "the queue priorities must be in ascending order: queue_priority_min=5 "
    "(--queue-priority-min), queue_priority_default=0 (default), queue_priority_max=10 (default)"
)

# Two different acceptable texts and their values, by how a value is written.
TEXTS: dict[Kind, tuple[tuple[str, object], tuple[str, object]]] = {
    Kind.TEXT: (("one", "one"), (" two ", "two")),
    Kind.SWITCH: (("yes", True), ("OFF", False)),
    Kind.WHOLE: (("16", 16), ("17", 17)),
    Kind.NUMBER: (("2.5", 2.5), ("3", 3.0)),
    Kind.SIZE: (("8MB", 8_000_000), ("1k", 1024)),
    Kind.NAMES: (("a, b,", ("a", "b")), ("", ())),
    Kind.NAMED_LISTS: (
        ('{"a": ["b", "c"]}', (("a", ("b", "c")),)),
        ('{"x": "y,z"}', (("x", ("y", "z")),)),
    ),
    Kind.URL: (("http://x/v1/", "http://x"), ("https://y:1", "https://y:1")),
    Kind.SERVERS: (
        ("a=http://x", (UpstreamTable({"name": "a", "url": "http://x"}),)),
        ("b=http://y", (UpstreamTable({"name": "b", "url": "http://y"}),)),
    ),
    Kind.PRICES: (
        ('{"a": {"input": 3, "output": 15}}', (("a", Price(3.0, 15.0)),)),
        ('{"b": {"input": 1, "output": 2, "cached": 0.1}}', (("b", Price(1.0, 2.0, 0.1)),)),
    ),
    Kind.PATH: (("/models", Path("/models")), ("here", Path("here"))),
}


def texts(name: str) -> tuple[tuple[str, object], tuple[str, object]]:
    setting = SETTINGS[name]
    if setting.choices:
        first, *_, last = setting.choices
        return (first, first), (last.upper(), last)
    if name.startswith("queue_priority"):
        return ("0", 0), ("0", 0)  # the three of them must stay in order
    if name == "default_max_tokens":
        return ("16", 16), ("17", 17)
    return TEXTS[setting.kind]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_read_from_flag_variable_alias_and_file(name: str) -> None:
    setting = SETTINGS[name]
    (written, expected), _ = texts(name)
    quoted = SettingsFile(Path("/etc/lattice.toml"), f"{name} = {json.dumps(written)}")

    by_flag = read({name: written}, {})
    by_file = read({}, {}, quoted)

    assert getattr(by_flag.settings, name) == expected
    assert by_flag.origins[name] == setting.flag
    if setting.kind is not Kind.PATH:
        assert getattr(by_file.settings, name) == expected
    assert by_file.origins[name] == "/etc/lattice.toml"
    for variable in (setting.variable, *setting.aliases):
        by_variable = read({}, {variable: written})
        assert getattr(by_variable.settings, name) == expected
        assert by_variable.origins[name] == variable


@pytest.mark.parametrize("name", SETTINGS)
def test_flag_beats_variable_beats_alias_beats_file(name: str) -> None:
    setting = SETTINGS[name]
    first, second = texts(name)
    file = SettingsFile(Path("/lattice.toml"), f"{name} = {json.dumps(second[0])}")
    environ = dict.fromkeys(setting.aliases, second[0])

    with_flag = read({name: first[0]}, {setting.variable: second[0], **environ}, file)
    with_variable = read({}, {setting.variable: first[0], **environ}, file)

    assert getattr(with_flag.settings, name) == first[1]
    assert getattr(with_variable.settings, name) == first[1]
    for alias in setting.aliases[:1]:
        with_alias = read({}, {**environ, alias: first[0]}, file)
        assert getattr(with_alias.settings, name) == first[1]
        assert with_alias.origins[name] == alias


def test_without_anything_the_defaults_hold() -> None:
    effective = read({}, {"HOME": "/home/me"})

    assert effective.settings == Settings(cache_dir=Path("/home/me/.cache/lattice-trio"))
    assert set(effective.origins.values()) == {"default"}
    assert set(effective.origins) == set(SETTINGS)
    assert effective.warnings == ()


@pytest.mark.parametrize("variable", PREDECESSOR)
def test_every_variable_of_the_predecessor_is_accepted(variable: str) -> None:
    names = {name for setting in SETTINGS.values() for name in (*setting.aliases, setting.variable)}

    assert (variable in names) != (variable in NO_EFFECT)


def test_nothing_but_variables_of_the_predecessor_is_an_alias() -> None:
    aliases = [alias for setting in SETTINGS.values() for alias in setting.aliases]

    assert set(aliases) | set(NO_EFFECT) | {"LATTICE_LOG_TIMING"} == set(PREDECESSOR)
    assert len(set(aliases)) == len(aliases)


@pytest.mark.parametrize("tier", TIERS)
def test_a_profile_sets_defaults_and_anything_said_wins(tier: str) -> None:
    by_profile = read({"profile": tier}, {})
    with_more = read({"profile": tier}, {"MLX_QUEUE_MAX_TOTAL": "99", "ON_MODEL_MISS": "fallback"})

    for name, value in TIERS[tier].items():
        assert getattr(by_profile.settings, name) == value
        assert by_profile.origins[name] == f"profile {tier}"
    assert with_more.settings.queue_max_total == 99
    assert with_more.settings.on_model_miss == "fallback"


@pytest.mark.parametrize("tier", TIERS)
def test_the_values_of_a_profile_are_values_the_settings_accept(tier: str) -> None:
    for name, value in TIERS[tier].items():
        assert SETTINGS[name].read(str(value)) == value


@pytest.mark.parametrize(
    ("flags", "environ", "file", "line"),
    [
        ({"port": "x"}, {}, None, "--port must be a whole number from 0 to 65535, not 'x'"),
        ({}, {"PORT": "70000"}, None, "PORT must be a whole number from 0 to 65535, not '70000'"),
        (
            {},
            {"LATTICE_BUILTIN": "maybe"},
            None,
            "LATTICE_BUILTIN must be 1/true/yes/on or 0/false/no/off, not 'maybe'",
        ),
        (
            {},
            {"MAX_CONCURRENT_MODELS": "0"},
            None,
            "MAX_CONCURRENT_MODELS must be a whole number of at least 1, not '0'",
        ),
        (
            {},
            {"MLX_QUEUE_WAIT_TIMEOUT_SEC": "nan"},
            None,
            "MLX_QUEUE_WAIT_TIMEOUT_SEC must be a number of at least 0, not 'nan'",
        ),
        (
            {"memory_budget_bytes": "8 apples"},
            {},
            None,
            "--memory-budget-bytes must be a size such as 8GB, 512MiB or 1048576, not '8 apples'",
        ),
        (
            {},
            {"ON_MODEL_MISS": "panic"},
            None,
            "ON_MODEL_MISS must be one of fallback, error, not 'panic'",
        ),
        (
            {},
            {"MLX_GRAB_MODEL": "hf:x/y"},
            None,
            "MLX_GRAB_MODEL must be a directory on this machine, and 'hf:x/y' is not downloaded",
        ),
        (
            {},
            {},
            "port = true",
            "port in lattice.toml must be a whole number from 0 to 65535, not True",
        ),
        ({}, {}, "prot = 1", "prot in lattice.toml is not a setting; did you mean port?"),
        ({}, {}, "[host]\na = 1", "host in lattice.toml must be one value"),
        ({}, {}, "cors_origins = [1]", "cors_origins in lattice.toml " + NO_LIST_OF_TEXTS),
        ({}, {}, "api_key = 12345", "api_key in lattice.toml must be text"),
        ({"host": " "}, {}, None, "--host must not be empty"),
        ({"cache_dir": ""}, {}, None, "--cache-dir must be a path, not empty"),
        ({"model": "a\0b"}, {}, None, "--model must be a path, and a path has no NUL"),
        (
            {"queue_priority_min": "5"},
            {},
            None,
            PRIORITIES_OUT_OF_ORDER,
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_that_names_where_it_stands(
    flags: dict[str, str], environ: dict[str, str], file: str | None, line: str
) -> None:
    text = None if file is None else SettingsFile(Path("lattice.toml"), file)

    with pytest.raises(SettingsError) as caught:
        read(flags, environ, text)

    assert str(caught.value) == line


def test_a_file_that_is_no_toml_says_so() -> None:
    with pytest.raises(SettingsError, match=r"lattice.toml is not valid TOML: .*line 1"):
        read({}, {}, SettingsFile(Path("lattice.toml"), "port: 5001"))


@given(name=st.sampled_from(sorted(SETTINGS)), written=st.text(max_size=30))
def test_any_text_is_read_or_refused_by_name(name: str, written: str) -> None:
    said = ""
    try:
        origin = read({name: written}, {}).origins[name]
    except SettingsError as error:
        origin, said = "", str(error)

    flag = SETTINGS[name].flag
    # The three priorities are also compared, and then named as fields.
    assert origin == flag or said.startswith(flag) or (name in said and "priorities" in said)


@given(st.text(min_size=1, max_size=30))
def test_a_secret_is_never_written_out(secret: str) -> None:
    setting = SETTINGS["api_key"]

    assert setting.show(secret) == "set"
    assert setting.show(None) == ""


@pytest.mark.parametrize("name", [name for name, s in SETTINGS.items() if s.kind is not Kind.NAMES])
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    effective = read({}, {SETTINGS[name].variable: "", "LATTICE_PORT": ""})

    assert effective.origins[name] == "default"


def test_an_empty_list_differs_from_none_at_all() -> None:
    unset = read({}, {}).settings.extra_placeholder_models
    empty = read({}, {"EXTRA_PLACEHOLDER_MODELS": ""}).settings.extra_placeholder_models

    assert (unset, empty) == (None, ())


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1048576", 1048576),
        ("8GB", 8_000_000_000),
        ("8 gib", 8 * 1024**3),
        ("8G", 8 * 1024**3),
        ("1.5MiB", 1572864),
        ("12b", 12),
    ],
)
def test_sizes(written: str, size: int) -> None:
    assert read({"memory_budget_bytes": written}, {}).settings.memory_budget_bytes == size


def test_toml_types_are_taken_as_they_are() -> None:
    file = SettingsFile(
        Path("lattice.toml"),
        'port = 8080\nbuiltin = true\nqueue_wait_s = 2\ncors_origins = ["a", " b "]\n'
        "memory_budget_bytes = 1_000\n",
    )

    settings = read({}, {}, file).settings

    assert (settings.port, settings.builtin, settings.queue_wait_s) == (8080, True, 2.0)
    assert (settings.cors_origins, settings.memory_budget_bytes) == (("a", "b"), 1000)


def test_paths_start_at_home_or_at_the_folder_of_the_file() -> None:
    file = SettingsFile(
        Path("/srv/lattice.toml"), 'model_root = "models"\nmodel_roles_file = "~/roles.json"'
    )

    settings = read({"model_profiles_file": "here.json"}, {"HOME": "/home/me"}, file).settings

    assert settings.model_root == Path("/srv/models")
    assert settings.model_roles_file == Path("/home/me/roles.json")
    assert settings.model_profiles_file == Path("here.json")


def test_a_ceiling_lowers_the_default_length_and_says_so() -> None:
    effective = read({}, {"MAX_TOKENS_CEILING": "512"})

    assert effective.settings.default_max_tokens == 512
    assert effective.origins["default_max_tokens"] == "default, lowered by MAX_TOKENS_CEILING"


def test_one_warning_names_all_variables_without_effect() -> None:
    [line] = read({}, {"MAX_WORKERS": "4", "LITELLM_TIMEOUT_SECONDS": "9", "OTHER": "1"}).warnings

    named, _, rest = line.partition(" are ")
    assert set(named.split(", ")) == {"MAX_WORKERS", "LITELLM_TIMEOUT_SECONDS"}
    assert rest == "set and have no effect here; lattice-trio config says why"


def test_a_misspelt_variable_is_named_with_a_guess() -> None:
    effective = read({}, {"LATTICE_PROT": "1", "LATTICE_CI": "1"})

    assert effective.warnings == ("LATTICE_PROT is not a setting; did you mean LATTICE_PORT?",)


def test_only_people_who_come_from_the_predecessor_hear_of_its_old_names() -> None:
    newcomer = read({}, {"PORT": "1"})
    settled = read({}, {"MLX_MODEL_ROOT": "/m", "EXTRA_PLACEHOLDER_MODELS": ""})
    moving = read({}, {"MLX_MODEL_ROOT": "/m"})

    assert newcomer.warnings == settled.warnings == ()
    assert len(moving.warnings) == 1
    assert moving.warnings[0].startswith("EXTRA_PLACEHOLDER_MODELS is not set")


def test_every_setting_has_one_place_in_the_handbook() -> None:
    placed = [setting.name for settings in grouped().values() for setting in settings]

    assert placed == list(SETTINGS)
    assert "" not in grouped()


def test_a_table_of_presets_can_stand_in_the_file() -> None:
    file = SettingsFile(
        Path("/lattice.toml"), '[swarm.presets]\nwise = ["role:reasoner", "auto"]\nq = "a,b"'
    )

    presets = read({}, {}, file).settings.swarm_presets

    assert presets == (("wise", ("role:reasoner", "auto")), ("q", ("a", "b")))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "must be a JSON object"),
        ("[]", "must be lists by name, not []"),
        ('{"a": []}', "must have a list of texts under each name, not 'a'"),
        ('{"a": 5}', "must have a list of texts under each name, not 'a'"),
        ('{" ": "b"}', "must have a list of texts under each name, not ' '"),
    ],
)
def test_a_preset_that_cannot_be_read_says_why(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as error:
        read({"swarm_presets": text}, {})

    assert str(error.value) == f"--swarm-presets {reason}"


# --- other servers --------------------------------------------------------------------------------


def tables(text: str) -> tuple[UpstreamTable, ...]:
    return read({}, {}, SettingsFile(Path("lattice.toml"), text)).settings.upstream


def test_servers_are_named_in_three_ways() -> None:
    flagged = read({"upstream": ["a=http://x:1/v1/", "b=https://y"]}, {}).settings.upstream
    by_variable = read({}, {"LATTICE_UPSTREAM": "a=http://x:1,b=https://y/"}).settings.upstream
    by_file = tables(
        '[[upstream]]\nname="a"\nurl="http://x:1"\n[[upstream]]\nname="b"\nurl="https://y"'
    )

    assert flagged == by_variable == by_file
    assert [str(table) for table in by_file] == ["a=http://x:1", "b=https://y"]


def test_all_keys_of_a_table_reach_the_plan() -> None:
    (table,) = tables(
        '[[upstream]]\nname="gpu"\nurl="http://x"\napi_key_env="KEY"\nmodels=["a*"]\n'
        'concurrency=4\nmodel_concurrency=2\npolicy=1\nweight=2\nkind="lmstudio"\n'
        "connect_timeout_s=1\nfirst_byte_timeout_s=2\nidle_timeout_s=3\nretries=0\n"
    )
    plan = table.plan(policy="strict", refresh_s=9.0)

    assert (plan.concurrency, plan.model_concurrency, plan.weight, plan.retries) == (4, 2, 2.0, 0)
    assert (plan.policy, plan.refresh_s, plan.models) == ("prefer", 9.0, ("a*",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[upstream]]\nname="a"', "has no url"),
        ('[[upstream]]\nurl="http://x"', "has no name"),
        ('[[upstream]]\nname="a"\nurl="x"', "url must be an address"),
        ('[[upstream]]\nname="a"\nurl="http://a..b:1"', "url must be an address"),  # no name at all
        ('[[upstream]]\nname="a"\nurl="ftp://x"', "url must be an address"),
        ('[[upstream]]\nname="a"\nurl="http://x:99999"', "url must be an address"),
        ('[[upstream]]\nname="a"\nurl="http://k:v@x"', "must not have a key"),
        ('[[upstream]]\nname="a"\nurl="http://x?k=v"', "without ? and #"),
        ('[[upstream]]\nname="A b"\nurl="http://x"', "lower-case"),
        ('[[upstream]]\nname="mlx"\nurl="http://x"', "means something else"),
        ('[[upstream]]\nname="a"\nurl="http://x"\nconcurency=1', "did you mean concurrency?"),
        ('[[upstream]]\nname="a"\nurl="http://x"\nweight=0', "weight must be"),
        ('[[upstream]]\nname="a"\nurl="http://x"\napi_key_env="sk-1"', "not a key"),
        ('[[upstream]]\nname="a"\nurl="http://x"\npolicy="no!"', "policy must be"),
        ('[[upstream]]\nname="a"\nurl="http://x"\n' * 2, "a twice"),
        ('upstream=["a"]', "NAME=URL"),
        ("upstream=5", "upstream"),
    ],
)
def test_a_wrong_server_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        tables(text)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("word", "policy"),
    [("strict", "strict"), ("only", "strict"), ("2", "strict"), ("1", "prefer"), ("off", "ignore")],
)
def test_the_predecessors_lm_studio_variables_are_understood(word: str, policy: str) -> None:
    environ = {
        "LM_STUDIO_URL": "http://127.0.0.1:1234/v1",
        "PREFER_LOADED_MODELS": word,
        "MODEL_LIST_TTL": "7",
        "LM_STUDIO_PER_MODEL_INFLIGHT_CAP": "3",
    }
    effective = read({}, environ)

    assert effective.settings.lm_studio_url == "http://127.0.0.1:1234"
    assert effective.settings.prefer_loaded_models == policy
    assert effective.settings.upstream_refresh_s == 7
    assert effective.settings.lm_studio_model_streams == 3
    assert effective.warnings == ()
    assert "PREFER_LOADED_MODELS" in "".join(read({}, {"LM_STUDIO_URL": "http://x"}).warnings)


def test_the_predecessors_litellm_variables_have_one_warning() -> None:
    environ = {"LITELLM_TIMEOUT_SECONDS": "1", "ENABLE_LITELLM_PREFIX_ROUTING": "1"}
    (warning,) = read({}, environ).warnings

    assert "LITELLM_TIMEOUT_SECONDS" in warning


def test_a_name_cannot_be_given_to_two_servers() -> None:
    with pytest.raises(SettingsError, match="lmstudio"):
        read({"upstream": ["lmstudio=http://x"]}, {"LM_STUDIO_URL": "http://y"})
