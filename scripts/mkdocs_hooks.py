"""Hooks of mkdocs: the README as first page, and links into the repository."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def address() -> str:
    """Return the address of the repository, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Source"])


def on_config(config: Any) -> Any:
    """Fill in what pyproject.toml says."""
    config["repo_url"] = address()
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the README, whose links are from the folder above."""
    from mkdocs.structure.files import File

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=as_first_page(text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links that leave the folder into the repository."""
    return re.sub(r"\]\(\.\./([^)]+)\)", rf"]({address()}/blob/main/\1)", markdown)


def as_first_page(readme: str) -> str:
    """Return the README with links as a page inside `docs` has them."""

    def moved(found: re.Match[str]) -> str:
        target = found[1]
        if re.match(r"https?://|#", target):
            return found[0]
        inside = target.startswith("docs/")
        return f"]({target.removeprefix('docs/')})" if inside else f"](../{target})"

    return re.sub(r"\]\(([^)]+)\)", moved, readme)
