"""What all tests share: one thread, and the real cells where they are at hand."""

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# Read when NumPy and torch are first imported, so no test may import them earlier than this file.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def real_cells() -> Path:
    folder = os.environ.get("INTERP_CELLS", "")
    if not folder:
        pytest.skip("INTERP_CELLS does not name a folder of real cells")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"INTERP_CELLS names {folder}, which is not a folder")
    return path


@pytest.fixture(autouse=True)
def quiet_ends_with_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--quiet` asks for lasts as long as the process; here it must not reach the next test."""
    from interp.runs import progress

    monkeypatch.setattr(progress, "_choice", {"quiet": False})


class Mirror(ThreadingHTTPServer):
    """A loopback web server that can misbehave.

    `files` is path to content, `cuts` the bytes after which the next answers break off, `ignores_range` and
    `tells_size` how it answers; `asked` collects (path, Range header, bytes sent).
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files, self.cuts = files, []
        self.ignores_range, self.tells_size = False, True
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, str | None, int]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        given = self.headers.get("Range")
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.end_headers()
        elif content is None:
            self.send_error(404)
        else:
            start = (
                int(given.removeprefix("bytes=").removesuffix("-")) if given and not self.server.ignores_range else 0
            )
            self.send_response(206 if start else 200)
            if self.server.tells_size:
                self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:]
            if self.server.cuts:
                body = body[: self.server.cuts.pop(0)]
            self.server.asked.append((self.path, given, len(body)))
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], Mirror]]:
    """Start web servers on loopback; they end with the test."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("interp.runs.fetch.SECONDS_BETWEEN_ATTEMPTS", 0.0)
    started: list[Mirror] = []

    def start(files: dict[str, bytes]) -> Mirror:
        started.append(Mirror(files))
        threading.Thread(target=started[-1].serve_forever, args=(0.01,), daemon=True).start()
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def planted_world() -> Callable:
    """Cells whose class is an interaction of two genes, and a model of which one head knows it, or none (None)."""
    import interp
    from interp.scgpt.planted import planted_model
    from interp.simulate.interaction import with_interaction

    genes = ("GATA1", "MBNL1")

    def make(place: tuple[int, int] | None, seed: int, n_cells: int = 480) -> tuple:
        cells = interp.simulate(n_donors=15, n_cells=n_cells, n_genes=100, seed=seed)
        cells = with_interaction(cells, genes, seed=seed)
        model = planted_model(list(cells.var_names), genes, place, seed=seed)
        return interp.read_cells(cells, donor="donor", tissue="tissue", cell_type="cell_type"), model

    return make
