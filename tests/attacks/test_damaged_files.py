"""Ten damaged files of every kind that lingen reads end in a result or in one of its errors."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


def test_damaged_files_are_read_or_refused() -> None:
    result = subprocess.run(
        [sys.executable, SCRIPT, "--count", "200"], capture_output=True, text=True, timeout=250
    )
    assert result.returncode == 0, result.stdout + result.stderr
    *kinds, total = result.stdout.splitlines()
    assert len(kinds) == 20
    assert total.startswith("200 damaged files: ") and total.endswith(", 0 wrong")
    assert int(total.split()[3]) > 20, "of too many kinds not even the undamaged file is read"
