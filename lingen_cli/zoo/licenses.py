"""Licenses of open weights that this user has accepted, each asked for once.

One small file per model in the user's state folder (`LINGEN_STATE_DIR`). A license that has changed
since is asked for again.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from lingen_cli.errors import NotAvailableError
from lingen_cli.files.user_folders import user_folder
from lingen_cli.files.write_errors import write_error
from lingen_models.checkpoints.whole_file import write_whole
from lingen_plugins.contracts import HubModel

FOLDER_VARIABLE = "LINGEN_STATE_DIR"


def is_accepted(model: HubModel) -> bool:
    """Tell whether this user has accepted the license of `model` as it is now."""
    path = _file(model)
    if path is None:
        return False
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    current = [model.license, model.license_url]
    if not isinstance(found, dict):
        return False
    return [found.get("license", found.get("licence")), found.get("url")] == current


def accept(model: HubModel) -> None:
    """Remember it. Raises what `write_error` makes of a folder that cannot be written."""
    if not model.license or is_accepted(model):
        return
    record = {
        "model": model.name,
        "license": model.license,
        "url": model.license_url,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = _file(model)
    if path is None:
        raise NotAvailableError(
            "this user has no home folder that could remember a license: name one with "
            f"{FOLDER_VARIABLE}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{json.dumps(record)}\n".encode())
    except OSError as error:
        raise write_error(error, path) from error


def missing(model: HubModel) -> str | None:
    """Say what to do until the license of `model` is accepted; None where it is."""
    if not model.license or is_accepted(model):
        return None
    return (
        f"{model.name} is licensed under {model.license} ({model.license_url}): add "
        "--accept-license to accept it; you are asked only once"
    )


def _file(model: HubModel) -> Path | None:
    folder = user_folder("state", FOLDER_VARIABLE)
    name = re.sub(r"[^\w.-]+", "-", model.name).strip("-")  # of a folder, its path
    # The spelling of the first release: what was accepted then stays accepted.
    return None if folder is None else folder / "licences" / f"{name}.json"
