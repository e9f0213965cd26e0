import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interp.errors import InputError, IntegrityError
from interp.runs.files import new_folder, write_text
from interp.runs.folder import RunFolder

CHAIN = """
import sys, time
from pathlib import Path
from interp.runs.files import new_folder, write_text
from interp.runs.folder import RunFolder

out, hang = Path(sys.argv[1]), sys.argv[2]

def pause(where):
    if hang == where:
        (out.parent / "reached").touch()
        time.sleep(60)

def first(path):
    write_text(path / "first.txt", "1")
    with open(out.parent / "calls", "a") as file:
        file.write("first ")

def second(path):
    with new_folder(path / "second") as fresh:
        (fresh / "a.txt").write_text("a" * 1000)
        pause("inside")
        (fresh / "b.txt").write_text("b" * 1000)
    write_text(path / "last.txt", "2")
    pause("unrecorded")
    with open(out.parent / "calls", "a") as file:
        file.write("second ")

with RunFolder.open(out, {"seed": 0}) as run:
    pause("opened")
    run.step("first", inputs={"seed": 0}, outputs=["first.txt"], make=first)
    pause("between")
    run.step("second", inputs={"first": run.sha256("first.txt")}, outputs=["second", "last.txt"], make=second)
"""


def chain(out: Path, hang: str = "nowhere") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHAIN, str(out), hang], stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"the run ended before it reached its pause: {process.communicate()[1]}")
        time.sleep(0.01)


def tree(folder: Path) -> dict[str, bytes]:
    skipped = {"manifest.json", "log.txt", ".lock"}  # hold times and the process
    return {
        item.relative_to(folder).as_posix(): item.read_bytes()
        for item in sorted(folder.rglob("*"))
        if item.is_file() and item.name not in skipped
    }


@pytest.mark.parametrize("hang", ["opened", "between", "inside", "unrecorded"])
def test_a_killed_run_continues_to_the_same_bytes(tmp_path, hang):
    assert chain(tmp_path / "calm" / "run").wait(60) == 0

    out = tmp_path / "killed" / "run"
    out.parent.mkdir()
    process = chain(out, hang)
    wait_for(out.parent / "reached", process)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not (out / "second").exists() or hang == "unrecorded"
    assert chain(out).wait(60) == 0

    assert tree(out) == tree(tmp_path / "calm" / "run")
    assert (out.parent / "calls").read_text().split() == ["first", "second"]
    assert not list(out.rglob("*.part"))


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path):
    out = tmp_path / "run"
    process = chain(out, "opened")
    wait_for(tmp_path / "reached", process)
    try:
        with (
            pytest.raises(InputError, match=f'in use by another process.*"pid": {process.pid}'),
            RunFolder.open(out, {}),
        ):
            pass
    finally:
        process.kill()
        process.wait(60)
    with RunFolder.open(out, {}) as run:  # the lock died with its holder
        assert run.outputs() == []


def test_a_process_is_kept_from_itself(tmp_path):
    with RunFolder.open(tmp_path / "run", {}):
        with pytest.raises(InputError, match="already open"), RunFolder.open(tmp_path / "run", {}):
            pass
        # The refusal must not have dropped the lock that stands.
        assert chain(tmp_path / "run").wait(60) != 0
    with RunFolder.open(tmp_path / "run", {}):
        pass


class Counter:
    """A step that writes its text to `a.txt` and `b.txt` and counts its calls."""

    def __init__(self, text: str = "x") -> None:
        self.text = text
        self.calls = 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        write_text(path / "a.txt", self.text)
        with new_folder(path / "b") as fresh:
            (fresh / "b.txt").write_text(self.text)


def do(folder: Path, make: Counter, **inputs: object) -> bool:
    with RunFolder.open(folder, inputs) as run:
        return run.step("step", inputs=inputs, outputs=["a.txt", "b"], make=make)


def test_a_step_is_redone_only_when_its_inputs_changed(tmp_path):
    make = Counter()
    assert do(tmp_path / "run", make, seed=0, genes=["A", "B"])
    assert not do(tmp_path / "run", make, genes=["A", "B"], seed=0)
    assert make.calls == 1
    assert do(tmp_path / "run", make, seed=1, genes=["A", "B"])
    assert do(tmp_path / "run", make, seed=1, genes=["B", "A"])
    assert make.calls == 3
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == {"seed": 1, "genes": ["B", "A"]}


def test_a_new_version_of_the_package_redoes_a_step(tmp_path, monkeypatch):
    make = Counter()
    do(tmp_path / "run", make)
    monkeypatch.setattr("interp.runs.folder.__version__", "99")
    assert do(tmp_path / "run", make)


@pytest.mark.parametrize(
    "harm",
    [
        lambda run: (run / "a.txt").unlink(),
        lambda run: (run / "a.txt").write_text("y"),
        lambda run: (run / "b" / "b.txt").unlink(),
        lambda run: (run / "b" / "c.txt").write_text("more"),
    ],
    ids=["deleted", "corrupted", "deleted inside", "added inside"],
)
def test_outputs_that_are_not_what_was_recorded_are_made_again(tmp_path, harm):
    make = Counter()
    do(tmp_path / "run", make)
    before = tree(tmp_path / "run")
    harm(tmp_path / "run")
    assert do(tmp_path / "run", make)
    assert tree(tmp_path / "run") == before


def test_a_step_that_failed_is_not_recorded(tmp_path):
    do(tmp_path / "run", Counter("old"), seed=0)

    def fail(path: Path) -> None:
        write_text(path / "a.txt", "half of the new")
        msg = "stop"
        raise RuntimeError(msg)

    with RunFolder.open(tmp_path / "run", {}) as run, pytest.raises(RuntimeError, match="stop"):
        run.step("step", inputs={"seed": 1}, outputs=["a.txt", "b"], make=fail)
    make = Counter("old")
    assert do(tmp_path / "run", make, seed=0)
    assert (tmp_path / "run" / "a.txt").read_text() == "old"


def test_a_step_without_its_output_is_an_error(tmp_path):
    with RunFolder.open(tmp_path / "run", {}) as run:
        with pytest.raises(IntegrityError, match=r"'step' ended without its outputs \['a.txt'\]"):
            run.step("step", inputs={}, outputs=["a.txt"], make=lambda path: None)
        assert run.outputs() == []


def test_recorded_hashes_link_steps(tmp_path):
    with RunFolder.open(tmp_path / "run", {}) as run:
        run.step("step", inputs={}, outputs=["a.txt", "b"], make=Counter("x"))
        first = run.sha256("a.txt")
        run.step("step", inputs={"seed": 1}, outputs=["a.txt", "b"], make=Counter("y"))
        assert run.sha256("a.txt") != first
        with pytest.raises(InputError, match="made so far"):
            run.sha256("c.txt")


@pytest.mark.parametrize("output", ["../a.txt", "/tmp/a.txt", "manifest.json", "."])
def test_outputs_stay_inside_the_folder(tmp_path, output):
    with RunFolder.open(tmp_path / "run", {}) as run, pytest.raises(InputError, match="inside the run folder"):
        run.step("step", inputs={}, outputs=[output], make=lambda path: None)


def test_two_steps_cannot_own_one_output(tmp_path):
    with RunFolder.open(tmp_path / "run", {}) as run:
        run.step("step", inputs={}, outputs=["a.txt", "b"], make=Counter())
        with pytest.raises(InputError, match="Both 'step' and 'other'"):
            run.step("other", inputs={}, outputs=["a.txt"], make=Counter())


def test_a_renamed_step_takes_its_output_over(tmp_path):
    with RunFolder.open(tmp_path / "run", {}) as run:
        run.step("old name", inputs={}, outputs=["a.txt", "b"], make=Counter())
    with RunFolder.open(tmp_path / "run", {}) as run:
        run.step("step", inputs={}, outputs=["a.txt", "b"], make=Counter())
        assert list(run.manifest["steps"]) == ["step"]


def test_what_is_not_a_run_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a run folder"), RunFolder.open(tmp_path, {}):
        pass
    with pytest.raises(InputError, match="is a file"), RunFolder.open(tmp_path / "thesis.txt", {}):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["{", "[]", '{"steps": {}}', '{"schema": 99, "steps": {}}'])
def test_a_manifest_that_is_not_ours_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"manifest\.json"), RunFolder.open(tmp_path, {}):
        pass
    assert (tmp_path / "manifest.json").read_text() == text


def test_the_log_holds_the_steps_and_is_let_go(tmp_path):
    handlers = list(logging.getLogger("interp").handlers)
    make = Counter()
    do(tmp_path / "run", make)
    do(tmp_path / "run", make)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "step: started." in log
    assert "step: done before, inputs unchanged." in log
    assert logging.getLogger("interp").handlers == handlers
