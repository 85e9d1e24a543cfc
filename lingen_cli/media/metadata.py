"""The recipe of a video, kept in the file itself as JSON in the tag `comment` (media.md 1.2).

`comment` survives remuxing and is shown by ffprobe, exiftool and mediainfo; keys of our own would
not survive.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from lingen_cli.files.numbered import images_at
from lingen_cli.media.images.image_files import read_texts
from lingen_cli.media.open import InputVideo, open_video, tags_of

_MARK = "lingen"  # {"lingen": {recipe}} tells ours from anybody's comment
_MAX_CHARACTERS = 1 << 20


def recipe_tags(recipe: Mapping[str, object], title: str | None = None) -> dict[str, str]:
    """The tags for `VideoWriter(metadata=...)`: the recipe, and a title (the prompt) that players
    show.

    Values must be JSON; raises ValueError or TypeError for others (nan included). What is written
    comes back exactly: the JSON is ASCII, so that odd characters of a prompt travel as escapes.
    """
    tags = {"comment": json.dumps({_MARK: dict(recipe)}, ensure_ascii=True, allow_nan=False)}
    if len(tags["comment"]) > _MAX_CHARACTERS:
        raise ValueError(f"recipe has {len(tags['comment'])} characters, at most {_MAX_CHARACTERS}")
    if title:
        tags["title"] = clean_tag(title)
    return tags


def read_recipe(path: Path) -> dict[str, object] | None:
    """The recipe of a video that lingen wrote, None for any other video. Errors: see `open_video`.
    Of numbered images it is in the first.

    The content is as trustworthy as the file: check every value before use.
    """
    if numbered := images_at(path):
        return _recipe_in(read_texts(numbered[0]))
    with open_video(path) as video:
        return recipe_of(video)


def tags_in(path: Path) -> dict[str, str]:
    """Tags of an mp4 that lingen wrote, without those that the container has of its own."""
    own = ("major_brand", "minor_version", "compatible_brands", "encoder")
    with open_video(path) as video:
        found = tags_of(video.container.metadata)
    return {key: text for key, text in found.items() if key not in own}


def recipe_of(video: InputVideo) -> dict[str, object] | None:
    """Read as `read_recipe` does from a video that is open."""
    found = tags_of(video.container.metadata)
    return _recipe_in({name.lower(): text for name, text in found.items()})


def _recipe_in(tags: Mapping[str, str]) -> dict[str, object] | None:
    """Find the recipe in tags by their names in lower case: in Matroska they are in capitals."""
    comment = tags.get("comment", "")
    if not comment.startswith("{") or len(comment) > _MAX_CHARACTERS:
        return None
    try:
        found = json.loads(comment, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    recipe = found.get(_MARK) if isinstance(found, dict) else None
    return recipe if isinstance(recipe, dict) else None


def clean_tag(text: str) -> str:
    """Text as mp4 can hold it: a NUL would cut it, a lone surrogate cannot be encoded."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
