"""Licences of open weights that this user has accepted, each asked for once.

One small file per model in the user's state folder (`LINGEN_STATE_DIR`). A licence that has changed
since is asked for again.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from lingen_plugins.contracts import HubModel

FOLDER_VARIABLE = "LINGEN_STATE_DIR"


def is_accepted(model: HubModel) -> bool:
    """Tell whether this user has accepted the licence of `model` as it is now."""
    try:
        found = json.loads(_file(model).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    asked = [model.licence, model.licence_url]
    return isinstance(found, dict) and [found.get("licence"), found.get("url")] == asked


def accept(model: HubModel) -> None:
    """Remember it. Raises what `write_error` makes of a folder that cannot be written."""
    from lingen_cli.files.write_errors import write_error

    if not model.licence or is_accepted(model):
        return
    record = {
        "model": model.name,
        "licence": model.licence,
        "url": model.licence_url,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = _file(model)
    part = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(record) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise write_error(error, path) from error


def asked_for(model: HubModel) -> str | None:
    """Say what to do until the licence of `model` is accepted; None where it is."""
    if not model.licence or is_accepted(model):
        return None
    return (
        f"{model.name} is under the licence {model.licence}: read {model.licence_url}, "
        "then say once --accept-licence"
    )


def _file(model: HubModel) -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else platformdirs.user_state_path("lingen")
    name = re.sub(r"[^\w.-]+", "-", model.name).strip("-")  # of a folder, its path
    return folder / "licences" / f"{name}.json"
