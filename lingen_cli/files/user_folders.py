"""Folders of this user: optional, since a process may have no home, or may not read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import platformdirs

_NAME = "lingen"


def user_folder(kind: Literal["config", "cache", "state"], variable: str = "") -> Path | None:
    """Return the folder that `variable` names, else this user's; None for a user without a home.

    It need not exist, and may not be readable.
    """
    named = os.environ.get(variable) if variable else None
    if named:
        return Path(named)
    found = {
        "config": platformdirs.user_config_path,
        "cache": platformdirs.user_cache_path,
        "state": platformdirs.user_state_path,
    }
    try:
        return found[kind](_NAME)
    except RuntimeError:  # a uid that has no entry in passwd, and no HOME
        return None
