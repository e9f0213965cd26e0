from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import interp
from interp.capture import partstore, workers
from interp.capture.work import CaptureWork
from interp.cli import main

COMMAND = "from interp.cli import main; main()"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    cells = interp.simulate(n_donors=2, n_cells=70, n_genes=300, seed=1)
    cells.layers["counts"] = cells.X.copy()
    cells.X = np.log1p(cells.X)
    cells.var["symbol"] = cells.var_names
    cells.var_names = [f"id{i}" for i in range(cells.n_vars)]
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    cells.write_h5ad(path)
    return path


@pytest.fixture
def words(path, tmp_path):
    """Words of a capture whose counts and symbols are not where they usually are."""
    named = {"--model": "scgpt-sim", "--cells": path, "--layer": "counts", "--gene-key": "symbol"}
    return [*(str(word) for pair in named.items() for word in pair), "--out", str(tmp_path / "store")]


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["capture", *map(str, words)])
    return stop.value.code or 0


def test_a_capture_holds_what_was_asked_for_and_says_how_to_open_it(words, path, tmp_path, capsys):
    more = ["--sites", "resid_post", "z", "--layers", "0,2:4", "--reduce", "mean", "--dtype", "float16"]
    assert call(*words, *more, "--max-tokens", "50", "--seed", "3", "--memory", "64MiB") == 0
    shown = capsys.readouterr().out
    store = interp.ActivationStore.open(tmp_path / "store")
    assert repr(store) in shown
    assert f'interp.ActivationStore.open("{tmp_path / "store"}")' in shown
    assert [site.split(".")[1] for site in store] == ["0", "0", "2", "2", "3", "3"]
    direct = interp.capture(
        interp.load_model("scgpt-sim"),
        interp.cells.open_cells(path, layer="counts", gene_key="symbol"),
        sites=["resid_post", "z"],
        layers=[0, 2, 3],
        reduce="mean",
        dtype="float16",
        max_tokens=50,
        seed=3,
    )
    for site in store:
        np.testing.assert_allclose(store[site][:], direct[site][:], atol=1e-3)


def test_genes_come_as_words_or_from_a_file(words, tmp_path):
    genes = interp.load_model("scgpt-sim").vocabulary.genes[:3]
    (tmp_path / "genes.txt").write_text("\n".join(genes) + "\n")
    chosen = ["--reduce", "genes", "--layers", "1", "--genes"]
    assert call(*words, *chosen, *genes) == 0
    assert call(*words, *chosen, tmp_path / "genes.txt") == 0  # the same store, found complete
    assert interp.ActivationStore.open(tmp_path / "store").genes == tuple(genes)


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (["--sites", "resid_pots"], 3, "did you mean blocks.0.hook_resid_post"),
        (["--layers", "9"], 3, "layers 0 to 3"),
        (["--layers", "5:2"], 2, "2:5 is 2, 3 and 4"),
        (["--layers", "last"], 2, "names no layers"),
        (["--memory", "2XB"], 2, "800MiB"),
        (["--memory", "1KiB"], 3, "too small"),
        (["--reduce", "max"], 2, "full"),
        (["--reduce", "genes", "--genes", "NOPE"], 3, "NOPE"),
        (["--gene-key", "name"], 3, "gene_key="),
        (["--cells", "nowhere.h5ad"], 3, "nowhere.h5ad"),
        (["--model", "nothing"], 3, "scgpt-mini"),
        (["--scheduler", "tcp://127.0.0.1:1"], 3, "no scheduler answers"),
        (["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], 3, "not both"),
        (["--scheduler", "tcp://127.0.0.1:1", "--device", "cpu"], 2, "workers choose for themselves"),
        (["--workers", "2", "--device", "cuda:1"], 2, "workers choose for themselves"),
    ],
)
def test_a_mistake_ends_with_its_code_and_says_what_to_do(words, given, code, says, capsys, monkeypatch):
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 1)
    assert call(*words, *given) == code
    error = " ".join(capsys.readouterr().err.split())
    assert says in error
    assert "Traceback" not in error


def test_cells_and_folder_are_asked_for(capsys):
    assert call("--model", "scgpt-sim") == 2
    assert "--list-sites" in capsys.readouterr().err


def test_another_store_in_the_folder_is_refused(words, capsys):
    assert call(*words, "--layers", "1") == 0
    assert call(*words, "--layers", "2") == 4
    assert "something else" in capsys.readouterr().err


def test_a_full_disk_is_stopped_work_that_continues(words, tmp_path, capsys, monkeypatch):
    def no_room():
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(partstore, "every_chunk_written", no_room)
        assert call(*words) == 5
    assert "the disk is full" in capsys.readouterr().err
    assert call(*words) == 0
    assert len(interp.ActivationStore.open(tmp_path / "store")) == 70


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_capture_says_so_and_continues(words, tmp_path, capsys, monkeypatch, number):
    with monkeypatch.context() as patch:
        patch.setattr(CaptureWork, "compute", lambda *given: os.kill(os.getpid(), number) or time.sleep(1))
        assert call(*words) == 5
    assert "The same command continues" in capsys.readouterr().err
    assert call(*words) == 0
    assert len(interp.ActivationStore.open(tmp_path / "store")) == 70


def test_sites_are_listed_with_words_that_capture_takes(capsys):
    from interp.capture.sites import find_sites

    assert call("--model", "scgpt-sim", "--list-sites") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    model = interp.load_model("scgpt-sim")
    listed = [name for row in rows for name in find_sites(model, row[0])]
    assert sorted(listed) == sorted(model.hook_dict)
    assert ["z", "0", "to", "3", "token", "x", "4", "x", "16"] in rows
    assert ["cell", "-", "64"] in rows


@pytest.mark.slow
def test_local_workers_share_a_capture_quietly(words, tmp_path):
    pytest.importorskip("distributed")
    code = [sys.executable, "-c", COMMAND, "capture", *words, "--workers", "2", "--device", "cpu"]
    found = subprocess.run(code, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "cells, reduce='cls'" in found.stdout
    ours = ("weights loaded", "cell/s", "package cryptography")
    assert not [line for line in found.stderr.splitlines() if not any(word in line for word in ours)]
    assert sorted(item.name for item in (tmp_path / "store").iterdir() if item.name.startswith(".")) == []
