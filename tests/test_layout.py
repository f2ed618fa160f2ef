"""The house: where code lives, what may import what, and that no actor waits for another."""

from __future__ import annotations

import ast
import http.client
import re
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
PACKAGES = {
    "lattice_actors": ROOT / "lattice_actors",
    "lattice_http": ROOT / "http" / "lattice_http",
    "lattice_dashboard": ROOT / "dashboard_ws" / "lattice_dashboard",
    "lattice_bench": ROOT / "bench" / "lattice_bench",
}
WEB = {"quart", "quart_trio", "hypercorn", "werkzeug", "flask", "wsproto", "h2"}
MLX = {"mlx", "mlx_lm"}

# A module that says so in its docstring is a policy: it decides, and waits for nothing.
PURE = ("Pure.", "Values only.")


def module_name(path: Path) -> str:
    for package, folder in PACKAGES.items():
        if path.is_relative_to(folder):
            inner = path.relative_to(folder).with_suffix("").parts
            return ".".join((package, *(part for part in inner if part != "__init__")))
    raise ValueError(path)


def sources() -> dict[str, Path]:
    return {
        module_name(path): path for folder in PACKAGES.values() for path in folder.rglob("*.py")
    }


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path, parsed: ast.Module) -> Iterator[str]:
    """Every module that is imported anywhere in the file, with absolute names.

    ``from a.b import c`` counts as a.b and as a.b.c, since c may be a module.
    """
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def imported_by(path: Path) -> frozenset[str]:
    return frozenset(imports(path, tree(path)))


def top(name: str) -> str:
    return name.partition(".")[0]


MODULES = sources()
RUNTIME = [name for name in MODULES if top(name) == "lattice_actors"]


def test_http_is_the_standard_library() -> None:
    assert Path(http.client.__file__).resolve().is_relative_to(STDLIB)


@pytest.mark.parametrize("root", ["http", "dashboard_ws", "bench"])
def test_a_source_root_holds_one_package_and_no_module(root: str) -> None:
    names = {path.name for path in (ROOT / root).iterdir()}

    assert len({name for name in names if name.startswith("lattice_")}) == 1
    assert not {name for name in names if name.endswith(".py")}


def test_tests_are_no_packages() -> None:
    # A tests/http with an __init__.py would hide the standard library in both import modes.
    assert not list((ROOT / "tests").rglob("__init__.py"))
    assert not (ROOT / "tests" / "http").exists()


def importing(modules: Iterable[str], names: set[str]) -> dict[str, set[str]]:
    """The *modules* that import any of *names*, each with those that it imports.

    One test looks at them all: a test for each, of which there are hundreds, takes far longer.
    """
    tops = {module: {top(name) for name in imported_by(MODULES[module])} for module in modules}
    return {module: found & names for module, found in tops.items() if found & names}


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("lattice_actors", set[str]()),
        ("lattice_http", {"lattice_actors"}),
        ("lattice_dashboard", {"lattice_actors"}),
        ("lattice_bench", {"lattice_actors"}),
    ],
)
def test_imports_go_from_the_outside_in(package: str, allowed: set[str]) -> None:
    modules = [
        name
        for name in MODULES
        if top(name) == package and not name.startswith("lattice_http.cli")  # composes them all
    ]

    assert modules
    assert importing(modules, set(PACKAGES) - {package} - allowed) == {}


def test_the_runtime_imports_no_web_framework() -> None:
    assert importing(RUNTIME, WEB) == {}


def test_only_the_engine_imports_mlx() -> None:
    others = [name for name in MODULES if not name.startswith("lattice_actors.engine")]

    assert importing(MODULES, MLX)
    assert importing(others, MLX) == {}


def test_the_errors_stand_below_everything() -> None:
    assert not {top(name) for name in needs("lattice_actors.errors")} & set(PACKAGES)


def test_nothing_in_the_runtime_imports_its_composition() -> None:
    composition = "lattice_actors.lattice"

    assert composition in MODULES
    assert [name for name in RUNTIME if composition in imported_by(MODULES[name])] == []


def needs(module: str) -> set[str]:
    """Everything *module* imports, also through other modules of ours."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        for name in imported_by(MODULES[todo.pop()]):
            if name not in seen:
                seen.add(name)
                if name in MODULES:
                    todo.append(name)
    return seen


def policies() -> list[str]:
    return [
        name
        for name, path in MODULES.items()
        if any(word in (ast.get_docstring(tree(path)) or "") for word in PURE)
    ]


def test_the_policies_are_found() -> None:
    found = set(policies())

    assert {"lattice_actors.intensity", "lattice_actors.settings.reading"} <= found
    assert {"lattice_actors.admission.queue", "lattice_actors.capability.resolver"} <= found


def test_a_policy_needs_neither_trio_nor_a_web_framework() -> None:
    forbidden = WEB | MLX | {"trio", "structlog"}
    found = {policy: {top(name) for name in needs(policy)} & forbidden for policy in policies()}

    assert {policy: names for policy, names in found.items() if names} == {}


ASKING = {"ask", "ask_anew"}  # of a mailbox


def classes(parsed: ast.Module, ending: str) -> list[ast.ClassDef]:
    return [
        node
        for node in ast.walk(parsed)
        if isinstance(node, ast.ClassDef) and node.name.endswith(ending)
    ]


def calls(node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every method call below *node*, with the method's name."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            yield inner, inner.func.attr


def asking_methods(parsed: ast.Module) -> set[str]:
    """The methods of handles that ask."""
    return {
        method.name
        for handle in classes(parsed, "Handle")
        for method in handle.body
        if isinstance(method, ast.AsyncFunctionDef)
        and any(name in ASKING for _, name in calls(method))
    }


def asks(parsed: ast.Module, through_handles: set[str]) -> list[int]:
    """The lines where a module with an actor asks: a mailbox outside a handle, or a handle."""
    actors = classes(parsed, "Actor")
    if not actors:
        return []
    in_handles = {node for handle in classes(parsed, "Handle") for node in ast.walk(handle)}
    lines = {
        call.lineno for call, name in calls(parsed) if name in ASKING and call not in in_handles
    }
    for node in (node for actor in actors for node in ast.walk(actor)):
        for call, name in calls(node) if isinstance(node, ast.Await) else ():
            assert isinstance(call.func, ast.Attribute)
            its_own = isinstance(call.func.value, ast.Name) and call.func.value.id == "self"
            if name in through_handles and not its_own:
                lines.add(call.lineno)
    return sorted(lines)


def through_handles() -> set[str]:
    return {method for name in RUNTIME for method in asking_methods(tree(MODULES[name]))}


def test_no_actor_asks() -> None:
    # Only request tasks and sessions ask, through handles: so a cycle of waiting cannot be built.
    through = through_handles()
    lines = {name: asks(tree(MODULES[name]), through) for name in RUNTIME}

    assert {name: at for name, at in lines.items() if at} == {}


def test_an_actor_that_asks_would_be_found() -> None:
    handle = "class AHandle:\n    async def get(self):\n        return await self.box.ask_anew(1)\n"
    actor = "class AnActor:\n    async def run(self):\n"
    own = "        await self.get()\n"
    by_mailbox = "        await self.other.ask(1)\n"
    by_handle = "        await self.handle.get()\n"

    assert asking_methods(ast.parse(handle)) == {"get"}
    assert asks(ast.parse(handle + actor + own), {"get"}) == []
    assert asks(ast.parse(handle + actor + own + by_mailbox), {"get"}) == [7]
    assert asks(ast.parse(handle + actor + own + by_handle), {"get"}) == [7]


@pytest.mark.parametrize("package", ["lattice_http", "lattice_bench"])
def test_the_map_of_a_package_names_every_module(package: str) -> None:
    folder = PACKAGES[package]
    there = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
    there |= {path.parent.name for path in folder.glob("*/__init__.py")}

    mapped = set(re.findall(r"\w+", ast.get_docstring(tree(folder / "__init__.py")) or ""))

    assert there - mapped == set()
