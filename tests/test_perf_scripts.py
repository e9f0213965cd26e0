import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "perf"


def test_every_speed_script_still_finds_what_it_imports():
    scripts = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert len(scripts) >= 9
    code = f"import {', '.join(scripts)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
