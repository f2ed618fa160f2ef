"""What the documentation promises whole: the variables of Local Lattice, files to copy."""

from __future__ import annotations

import configparser
import plistlib
import re
from pathlib import Path

from lattice_actors.settings.definition import SETTINGS, Settings
from lattice_actors.settings.predecessor import NO_EFFECT

DOCS = Path(__file__).resolve().parents[2] / "docs"


def block(page: str, language: str) -> str:
    """The first fenced block of *language*."""
    found = re.search(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found, language
    return found[1]


def test_migration_names_every_variable_of_local_lattice() -> None:
    page = (DOCS / "migration.md").read_text()
    known = {alias for setting in SETTINGS.values() for alias in setting.aliases} | set(NO_EFFECT)

    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+|HOST|PORT)`", page))

    assert {name for name in known if name not in named} == set()
    assert {
        name for name in named if name not in known and not name.startswith("LATTICE_")
    } == set()


def test_variables_without_effect_are_called_gone() -> None:
    rows = [line for line in (DOCS / "migration.md").read_text().splitlines() if line[:3] == "| `"]

    gone = {name for row in rows if "| gone |" in row for name in re.findall(r"`([A-Z_]+)`", row)}

    assert gone - {"LATTICE_MEMORY_BUDGET_BYTES"} == set(NO_EFFECT)


def test_the_unit_gives_the_server_time_to_stop() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block((DOCS / "operations.md").read_text(), "ini"))

    service = unit["Service"]

    assert float(service["TimeoutStopSec"]) > Settings().shutdown_grace_s
    assert service["KillMode"] == "mixed"


def test_the_agent_of_launchd_is_a_property_list() -> None:
    agent = plistlib.loads(block((DOCS / "operations.md").read_text(), "xml").encode())

    assert agent["ExitTimeOut"] > Settings().shutdown_grace_s
    assert " serve " in agent["ProgramArguments"][-1]
