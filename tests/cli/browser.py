"""Pages as a browser has them."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


def browsed(page: Path, state: str = "", script: str = "") -> tuple[str, str]:
    """Open a page, with `state` behind its address and a `script` at its end, and return its title
    and the text of its main part. Nothing may be said on the console."""
    if BROWSER is None:
        pytest.skip("no chromium")
    copy = page.with_name("copy.html")
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    command += ["--autoplay-policy=no-user-gesture-required", "--enable-logging=stderr"]
    found = subprocess.run(
        [*command, "--dump-dom", f"{copy.as_uri()}{state}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    copy.unlink()
    assert "CONSOLE" not in found.stderr, found.stderr
    (main,) = re.findall(r'<main id="main">(.*)</main>', found.stdout, re.DOTALL)
    (title,) = re.findall(r"<title>(.*?)</title>", found.stdout)
    return unescape(title), main
