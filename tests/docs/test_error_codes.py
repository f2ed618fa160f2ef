"""docs/errors.md names every code that the server can answer, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import islice

from lattice_actors.capability.question import NoRoute
from lattice_actors.errors import LatticeError
from lattice_http.errors import FAMILIES, INTERNAL
from lattice_http.gateway import no_route
from tests.docs.running import ROOT

SOURCES = [
    path
    for folder in ("lattice_actors", "http/lattice_http", "dashboard_ws/lattice_dashboard")
    for path in (ROOT / folder).rglob("*.py")
]
# What takes a code as an argument without a name.
TAKERS = {"Refusal", "Refused", "Unoffered", "InputProblem", "server_fault", "_full", "_hopeless"}
CODE = re.compile(r"[a-z]+(?:_[a-z]+)+|oom|overloaded|unavailable")
# Not answered over HTTP: the program ends, or it is a script of the echo engine.
INNER = {"address_in_use", "cannot_bind", "restart_intensity", "invalid_prompt"}


def codes(tree: ast.AST) -> Iterator[str]:
    """Yield the codes that a module raises or answers."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name("code")], value=ast.Constant(str(code))):
                yield code
            case ast.keyword(arg="code", value=ast.Constant(str(code))):
                yield code
            case ast.Call(func=ast.Name(taker) | ast.Attribute(attr=taker)) if taker in TAKERS:
                # The first that looks like one: behind it may be the name of a parameter.
                texts = (one.value for one in node.args if isinstance(one, ast.Constant))
                named = (text for text in texts if isinstance(text, str) and CODE.fullmatch(text))
                yield from islice(named, 1)


def told() -> set[str]:
    """The codes in the table of the page."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.split("\n") if line.startswith(("| 4", "| 5"))]
    return {code for row in rows for code in re.findall(r"`(\w+)`", row[3])}


def statuses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the codes that errors are raised with, and the status of their family."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(name), keywords=keywords) if name in ERRORS:
                for keyword in keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        yield str(keyword.value.value), status_of(ERRORS[name])


def kinds_of(error: type[LatticeError]) -> Iterator[type[LatticeError]]:
    yield error
    for kind in error.__subclasses__():
        yield from kinds_of(kind)


def status_of(error: type[LatticeError]) -> int:
    return next((FAMILIES[base][0] for base in error.__mro__ if base in FAMILIES), INTERNAL[0])


ERRORS = {error.__name__: error for error in kinds_of(LatticeError)}


def test_every_code_is_told() -> None:
    found = {code for path in SOURCES for code in codes(ast.parse(path.read_text("utf-8")))}

    assert {code for code in found if CODE.fullmatch(code)} - INNER - told() == set()


def test_codes_are_told_with_their_status() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.split("\n") if line.startswith(("| 4", "| 5"))]
    told = {
        (code, int(status))
        for row in rows
        for status in row[1].split(",")
        for code in re.findall(r"`(\w+)`", row[3])
    }
    found = {pair for path in SOURCES for pair in statuses(ast.parse(path.read_text("utf-8")))}
    found |= {(error.code, status_of(error)) for error in ERRORS.values()}
    for code in ("model_unavailable", "no_model_for_constraints", "model_not_found"):
        error = no_route(NoRoute("nobody", code))
        found.add((code, status_of(type(error))))

    assert {(code, status) for code, status in found if code not in INNER} - told == set()


def test_no_code_is_told_that_nobody_answers() -> None:
    texts = {
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert len(told()) > 50
    assert told() - texts == set()
