"""The shape of the code: who imports whom, what stays private, what the package promises."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = "otel_llm_feedback"
LOGS = "otel_logs"  # the one module that may import the logs signal, which is underscore-named upstream

# Lowest first. A module belongs to the entry that it is, or is inside of. It may import from lower layers and from
# its own entry, not from another entry of its layer. The package's own __init__ stands above all of them.
LAYERS: tuple[frozenset[str], ...] = tuple(
    map(
        frozenset,
        (
            {"version", "errors", "attributes"},
            {"counters", "identity", "redaction", "slip"},
            {"boundary", "settings", LOGS},
            {"spans"},
            {"target"},
            {"current"},
            {"feedback"},
            {"delivery", "receiver"},
            {"setup", "cli", "testing"},
            {"__main__"},
        ),
    )
)
# What moves bytes knows nothing of spans and votes.
FLOOR = frozenset({"version", "errors", "attributes", "counters", "boundary"})
LIMITS: dict[str, frozenset[str]] = {
    "receiver": FLOOR,
    "delivery": FLOOR | {"settings", "slip", LOGS},
    "cli": FLOOR | {"delivery"},
}
# The order inside a room, where it is more than "no cycles": each may import those before it.
SPANS = (
    "dialects",
    "scopes",
    "normalise",
    "recognise",
    "call",
    "registries",
    "call_tables",
    "call_file",
    "sqlite_registry",
    "registry",
    "execution",
    "context",
    "processor",
    "exporter",
)
INSIDE: tuple[tuple[str, ...], ...] = (tuple(f"spans.{name}" for name in SPANS),)
THIRD_PARTY = frozenset({"google", "grpc", "opentelemetry"})  # the top-level names of the declared dependencies
OPTIONAL: dict[str, str] = {
    # what only an extra installs: the one place that may import it, also inside a function
    "opentelemetry.instrumentation": "setup.auto",
    "opentelemetry.configuration": "setup",
}
TYPES_ONLY = frozenset({"_typeshed", "typing_extensions"})  # what a type checker always knows; not there at run time
# Documented in spite of the underscore: os._exit, and what named tuples have.
ALLOWED_PRIVATE = frozenset({"_exit", "_asdict", "_field_defaults", "_fields", "_make", "_replace"})
VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})


class Import(NamedTuple):
    target: str  # the imported module, or module.name
    line: int
    hidden: bool = False  # inside a function
    types_only: bool = False  # inside `if TYPE_CHECKING`


class Module:
    def __init__(self, path: Path) -> None:
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)  # "" for the package itself
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"), str(path))

    def __repr__(self) -> str:
        return self.name or PACKAGE

    def imports(self) -> Iterator[Import]:
        yield from self._imports(self.tree, hidden=False, types_only=False)

    def _imports(self, node: ast.AST, *, hidden: bool, types_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                base = f"{self._absolute(child)}." if isinstance(child, ast.ImportFrom) else ""
                yield from (Import(base + alias.name, child.lineno, hidden, types_only) for alias in child.names)
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                guarded = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                yield from self._imports(child, hidden=hidden or function, types_only=types_only or guarded)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        here = [PACKAGE, *filter(None, self.name.split("."))]
        base = here[: len(here) - node.level + self.is_package]
        return ".".join([*base, *filter(None, [node.module])])


MODULES = [Module(path) for path in sorted((ROOT / PACKAGE).rglob("*.py"))]
NAMES = {module.name for module in MODULES}
BELOW_TOP = [module for module in MODULES if module.name]
each_module = pytest.mark.parametrize("module", MODULES, ids=repr)
each_below_top = pytest.mark.parametrize("module", BELOW_TOP, ids=repr)


def inside(name: str, entry: str) -> bool:
    return name == entry or name.startswith(f"{entry}.")


def layer(name: str) -> tuple[int, str]:
    """The layer's number and the entry of a module."""
    places = [(number, entry) for number, entries in enumerate(LAYERS) for entry in entries if inside(name, entry)]
    assert len(places) == 1, f"{name or PACKAGE} needs exactly one place in LAYERS, has {places}"
    return places[0]


def own(target: str) -> str | None:
    """The module of this package that an import reads, None for a foreign one."""
    if not inside(target, PACKAGE):
        return None
    name = target.removeprefix(PACKAGE).removeprefix(".")
    return name if name in NAMES else name.rpartition(".")[0]


def own_imports(module: Module) -> list[tuple[str, int]]:
    return [(name, each.line) for each in module.imports() if (name := own(each.target)) is not None]


def may_import(importer: str, imported: str) -> bool:
    for entry, allowed in LIMITS.items():
        if inside(importer, entry) and not inside(imported, entry):
            return any(inside(imported, each) for each in allowed)
    for order in INSIDE:
        ranks = [[rank for rank, entry in enumerate(order) if inside(name, entry)] for name in (importer, imported)]
        if all(ranks):
            return ranks[0] >= ranks[1]
    here, there = layer(importer), layer(imported)
    return here == there or there[0] < here[0]


@each_below_top
def test_every_module_has_one_place(module: Module) -> None:
    layer(module.name)
    assert not VAGUE_NAMES & set(module.name.split(".")), "name it for what it is about"


@each_below_top
def test_imports_point_down(module: Module) -> None:
    wrong = [
        f"line {line}: {name or PACKAGE}"
        for name, line in own_imports(module)
        if not name or not may_import(module.name, name)
    ]
    assert not wrong, f"{module.name} must not import these"


def test_no_import_cycles() -> None:
    graph = {module.name: {name for name, _ in own_imports(module)} - {module.name} for module in MODULES}
    # Take away what imports nothing, or is imported by nothing, until only cycles and what connects them are left.
    while ends := {name for name in graph if not graph[name] & graph.keys()} | graph.keys() - set().union(
        *graph.values()
    ):
        graph = {name: imported for name, imported in graph.items() if name not in ends}
    assert not graph, f"these modules import each other or connect those that do: {sorted(graph)}"


@each_module
def test_imports_are_at_the_top(module: Module) -> None:
    hidden = [each for each in module.imports() if each.hidden and not optional(module, each.target)]
    assert not hidden, "only what an extra installs may be imported inside a function"


@each_module
def test_foreign_imports_are_declared_dependencies(module: Module) -> None:
    foreign = [each for each in module.imports() if own(each.target) is None]
    known = THIRD_PARTY | set(sys.stdlib_module_names)
    undeclared = [each for each in foreign if each.target.partition(".")[0] not in known and not for_types(each)]
    assert not undeclared
    extras = [each for each in foreign if any(inside(each.target, extra) for extra in OPTIONAL)]
    assert [each for each in extras if not optional(module, each.target)] == []


def for_types(each: Import) -> bool:
    return each.types_only and each.target.partition(".")[0] in TYPES_ONLY


def optional(module: Module, target: str) -> bool:
    return any(inside(target, extra) and inside(module.name, place) for extra, place in OPTIONAL.items())


@each_module
def test_underscore_named_imports_are_in_one_module(module: Module) -> None:
    foreign = [each for each in module.imports() if own(each.target) is None and not for_types(each)]
    private = [each for each in foreign if re.search(r"(^|\.)_(?!_)", each.target) and module.name != LOGS]
    assert not private, f"import the logs signal from {PACKAGE}.{LOGS}; nothing else private may be imported"


def test_the_logs_module_imports_nothing_private_but_the_logs_signal() -> None:
    [logs] = [module for module in MODULES if module.name == LOGS]
    private = {part for each in logs.imports() for part in each.target.split(".") if part.startswith("_")}
    assert private - {"__future__"} <= {"_logs", "_log_exporter"}


@each_module
def test_private_attributes_are_only_our_own(module: Module) -> None:
    room = module.name.partition(".")[0]
    mine = {name for each in MODULES if inside(each.name, room) for name in defined_names(each.tree)} | ALLOWED_PRIVATE
    foreign = [(name, line) for name, line in private_uses(module.tree) if name not in mine]
    assert not foreign, "private attributes that neither this module nor its room defines"


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Functions, classes, parameters and everything assigned, also as an attribute of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def private_uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"getattr", "setattr"}:
            name = node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and is_private(name.value):
                yield name.value, node.lineno


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@each_module
def test_concrete_exporters_are_wrapped_not_subclassed(module: Module) -> None:
    exporters = {
        each.target.rpartition(".")[2] for each in module.imports() if inside(each.target, "opentelemetry.exporter")
    }
    bases = {
        base.id
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    assert not exporters & bases


def test_all_is_what_can_be_imported() -> None:
    package = importlib.import_module(PACKAGE)
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert sorted(public) == sorted(set(package.__all__) - {"__version__"})
    assert package.__version__ == metadata.version("otel-llm-feedback")


IMPORT_AND_WATCH = f"""
import logging, os, sys, threading
import grpc, google.protobuf.message, opentelemetry.sdk.trace.export, opentelemetry.sdk._logs.export
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter, opentelemetry.exporter.otlp.proto.http.trace_exporter

class Watched(dict):
    def __getitem__(self, key):
        look(key)
        return super().__getitem__(key)
    def get(self, key, default=None):
        look(key)
        return super().get(key, default)
    def __contains__(self, key):
        look(key)
        return super().__contains__(key)

def look(key):
    readers = [sys._getframe(depth).f_globals["__name__"] for depth in (2, 3)]  # the second: through os.getenv
    if any(reader.startswith("{PACKAGE}") for reader in readers):
        raise SystemExit(f"{{key}} read by {{readers}}")

before = threading.active_count(), list(logging.root.handlers)
environ, os.environ = os.environ, Watched(os.environ)
import {PACKAGE}
os.environ = environ
assert (threading.active_count(), logging.root.handlers) == before, "threads or handlers"
assert not logging.getLogger("{PACKAGE}").handlers, "handlers"
"""


def test_importing_does_nothing() -> None:
    """No threads, no log handlers, no environment reads, nothing printed."""
    answer = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_WATCH], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_entry_points_can_be_loaded() -> None:
    points = [
        point for point in metadata.distribution("otel-llm-feedback").entry_points if inside(point.module, PACKAGE)
    ]
    assert {(point.group.removeprefix("opentelemetry_"), point.name, point.load().__name__) for point in points} == {
        ("console_scripts", "otel-llm-feedback", "main"),
        ("instrumentor", "llm_feedback", "FeedbackInstrumentor"),
        ("traces_exporter", "otlp_genai", "OTLPGenAISpanExporter"),
        ("traces_exporter", "llm_feedback_spool", "SpoolGenAISpanExporter"),
        ("logs_exporter", "llm_feedback_spool", "SpoolLogExporter"),
    }


PINNED = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+( ; .+)?")


def pins(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("name", ["dev.txt", "floor.txt", "go.txt"])
def test_requirements_are_names_and_versions_only(name: str) -> None:
    assert [line for line in pins(name) if not PINNED.fullmatch(line)] == []


def test_the_declared_floors_are_the_tested_ones() -> None:
    tested = {line.partition(" ;")[0].replace("==", ">=") for line in pins("floor.txt")}
    required = metadata.requires("otel-llm-feedback") or []
    core = {line for line in required if "extra ==" not in line}
    assert core
    assert core <= tested
