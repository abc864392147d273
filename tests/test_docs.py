"""Documentation: generated pages are up to date, examples run, links lead somewhere."""

import doctest
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """scripts/generate_docs.py as a module (scripts are no package)."""
    spec = importlib.util.spec_from_file_location(
        "generate_docs", ROOT / "scripts" / "generate_docs.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date(generator: ModuleType) -> None:
    for name, page in generator.PAGES.items():
        assert (ROOT / "docs" / name).read_text() == page(), (
            f"docs/{name} must be what its tables say: run scripts/generate_docs.py"
        )


def test_examples_in_pages_run() -> None:
    results = [
        doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
        for page in PAGES
        if ">>>" in page.read_text()
    ]
    assert sum(r.failed for r in results) == 0
    assert sum(r.attempted for r in results) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"https?://|#", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_pages_exist(page: Path) -> None:
    """A path in backquotes that begins with a folder of ours is one."""
    names = re.findall(r"`((?:hw|golden|sim|src|scripts|tests|docs)/[\w./-]*)`", page.read_text())
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_names_in_pages_exist(page: Path) -> None:
    for name in re.findall(r"`(systolith(?:\.\w+)+)`", page.read_text()):
        assert pkgutil.resolve_name(name), name
