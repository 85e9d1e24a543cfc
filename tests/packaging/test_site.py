"""The manual page, the site of the documentation, and the address of the repository."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from lingen_cli import exit_codes

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = {page.name for page in (ROOT / "docs").glob("*.md")}


def script(name: str) -> Any:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manual_page_is_that_of_the_commands() -> None:
    """Otherwise: python scripts/man_page.py docs/lingen.1"""
    page = (ROOT / "docs" / "lingen.1").read_text(encoding="utf-8")
    assert page == script("man_page").man_page()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_can_be_shown() -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", str(ROOT / "docs" / "lingen.1")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stderr == ""
    text = re.sub(".\x08|\x1b\\[[0-9;]*m", "", found.stdout)
    assert "LINGEN MODELS LIST" in text and "--guidance-interval" in text
    assert 'lingen generate "a red ball bounces on green grass" --minutes 1' in text


def test_the_address_stands_in_one_place() -> None:
    source = PROJECT["urls"]["Source"]
    assert all(url.startswith(source) for url in PROJECT["urls"].values())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"git clone (\S+?)`", readme) == [source]
    assert script("mkdocs_hooks").address() == source


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "https://somewhere.org/lingen/issues",
            "; please report it: https://somewhere.org/lingen/",
        ),
        ("https://lingen.example/lingen/issues", ""),
        (None, ""),
    ],
)
def test_a_bug_names_where_to_report_it(
    url: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = Message()
    if url is not None:
        facts["Project-URL"] = f"Issues, {url}"
    monkeypatch.setattr(exit_codes, "metadata", lambda name: facts)
    message = exit_codes.failure_of(ZeroDivisionError("oh")).message
    assert message.startswith("internal error: ZeroDivisionError: oh (LINGEN_TRACEBACK=1 shows")
    assert (told in message) and ("report" in message) == bool(told)


def test_the_site_has_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r": ([a-z-]+\.md)$", text, re.MULTILINE)
    assert sorted(named) == sorted({*PAGES, "index.md"})


def test_links_lead_somewhere_on_the_site() -> None:
    hooks = script("mkdocs_hooks")
    text = hooks.on_page_markdown(
        hooks.as_first_page((ROOT / "README.md").read_text(encoding="utf-8"))
    )
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 20
    for target in targets:
        if target.startswith(address := f"{hooks.address()}/blob/main/"):
            assert (ROOT / target.removeprefix(address)).exists(), target
        elif not target.startswith(("https://", "#")):
            assert (ROOT / "docs" / target.split("#")[0]).exists(), target
