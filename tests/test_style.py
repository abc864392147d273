"""The house style, as far as a program can see it and ruff does not look."""

import ast
import dataclasses
import importlib
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ("src/systolith", "hw", "golden", "sim", "constraints")
SOURCES = sorted(path for folder in PACKAGE for path in (ROOT / folder).rglob("*.py"))
EVERYTHING = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").glob("*.py")])
SECTIONS = ["Parameters", "Attributes", "Members", "Returns", "Raises"]

FILE_LINES, TEST_FILE_LINES = 300, 400
FUNCTION_LINES, HARDWARE_FUNCTION_LINES, MEDIAN_FUNCTION_LINES = 40, 60, 12

# Longer than the rule, and why it is better so: at most 420 lines of a file, 60 of a function.
LONG_FILES: dict[str, str] = {
    "sim/verilator.py": "one build from key to library, whose steps share its settings",
}
LONG_FUNCTIONS: dict[str, str] = {}

# Where golden may name a floating-point type, and why the result is still an integer's.
GOLDEN_FLOATS = {
    "golden/matmul.py": {"float64"},  # sums of products by BLAS: integers below 2**53, exact
    "golden/memory.py": {"float64"},  # weight tiles for them
    "golden/weights.py": {"float64"},  # the same tiles, as they are decoded
    "golden/depthwise.py": {"float64"},  # the same tiles
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _functions(path: Path) -> Iterator[tuple[Function, int]]:
    """Functions with the lines of their bodies, docstrings not counted."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, Function):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield node, lines


def _comments(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in EVERYTHING}
    long = {
        _name(path): n
        for path, n in lengths.items()
        if n > (TEST_FILE_LINES if "tests" in path.parts else FILE_LINES)
    }
    assert set(long) <= set(LONG_FILES), long
    assert all(lines <= 420 for lines in long.values())


def _describes_hardware(function: Function) -> bool:
    """Whether it is `elaborate` or a part of one: it adds to a Module."""
    return function.name == "elaborate" or any(a.arg == "m" for a in function.args.args)


def test_functions_are_short() -> None:
    lengths: list[int] = []
    long: dict[str, int] = {}
    for path in SOURCES:
        for function, lines in _functions(path):
            lengths.append(lines)
            hardware = _describes_hardware(function)
            if lines > (HARDWARE_FUNCTION_LINES if hardware else FUNCTION_LINES):
                long[f"{_name(path)}:{function.name}"] = lines
    assert set(long) <= set(LONG_FUNCTIONS), long
    assert all(lines <= 60 for lines in long.values())
    assert statistics.median(lengths) <= MEDIAN_FUNCTION_LINES


def test_modules_say_what_they_export() -> None:
    for path in SOURCES:
        script = 'if __name__ == "__main__":' in path.read_text()
        if path.name not in ("__init__.py", "__main__.py") and not script:
            names = [
                target.id
                for node in _tree(path).body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            ]
            assert "__all__" in names, _name(path)


def test_sections_of_docstrings_are_in_order() -> None:
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, Function | ast.ClassDef):
                text = ast.get_docstring(node) or ""
                found = re.findall(r"^(\w+)\n-{3,}$", text, re.MULTILINE)
                assert found == [s for s in SECTIONS if s in found], f"{_name(path)}:{node.name}"


def _ports(class_node: ast.ClassDef) -> list[str]:
    """Names in the literal signature of a component: keys of dictionaries of ports."""
    return [
        str(key.value)
        for node in ast.walk(class_node)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
        and isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("In", "Out")
    ]


def test_ports_of_components_are_documented() -> None:
    seen = 0
    for path in sorted((ROOT / "hw").glob("*.py")):
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef):
                words = set(re.findall(r"\w+", ast.get_docstring(node) or ""))
                ports = _ports(node)
                seen += len(ports)
                assert not set(ports) - words, f"{_name(path)}:{node.name}"
    assert seen > 100


def test_dataclasses_of_spec_are_frozen() -> None:
    seen = 0
    for path in sorted((ROOT / "src/systolith/spec").glob("*.py")):
        module = importlib.import_module(f"systolith.spec.{path.stem}".removesuffix(".__init__"))
        for value in vars(module).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value):
                seen += 1
                assert value.__dataclass_params__.frozen, value  # type: ignore[attr-defined]  # not in typeshed
    assert seen > 8


def test_golden_computes_with_integers_only() -> None:
    floats = re.compile(
        r"float|double|half$|true_divide|divide$|mean|average|round$|rint|sqrt|exp(2|m1)?$"
    )
    for path in sorted((ROOT / "golden").glob("*.py")):
        allowed = GOLDEN_FLOATS.get(_name(path), set())
        for node in ast.walk(_tree(path)):
            where = f"{_name(path)}:{getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.Div), f"{_name(path)}: true division"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), where
            if isinstance(node, ast.Attribute) and node.attr not in allowed:
                assert not floats.match(node.attr), where
            if isinstance(node, ast.Name):
                assert node.id not in ("float", "round"), where


def test_every_unit_of_hardware_has_its_tests() -> None:
    units = {path.stem for path in (ROOT / "hw").glob("*.py")} - {"__init__"}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests/hw").glob("test_*.py")}
    assert not units - tested


def test_suppressions_have_reasons() -> None:
    """`# noqa: CODE reason`, `# type: ignore[code]  # reason`."""
    pattern = re.compile(r"#\s*(?:noqa|type:\s*ignore)(.*)")
    for path in EVERYTHING:
        for line, comment in _comments(path):
            match = pattern.search(comment)
            if match:
                reason = re.sub(
                    r"^\s*(?::\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*|\[[\w, -]+\])", "", match[1]
                )
                assert reason != match[1], f"{_name(path)}:{line}: name what is suppressed"
                assert len(reason.split()) >= 2, f"{_name(path)}:{line}: say why"


@pytest.mark.parametrize("folder", ["work", "home", "root", "tmp/[a-z]"])
def test_no_path_of_a_machine(folder: str) -> None:
    pattern = re.compile(rf"(?<![\w.$\"'}}])/{folder}/")
    texts = [ROOT / "pyproject.toml", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    texts += [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    for path in [*EVERYTHING, *texts]:
        found = pattern.search(path.read_text())
        assert not found, f"{_name(path)}: {found and found[0]}"
