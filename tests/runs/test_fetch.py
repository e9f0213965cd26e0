import pytest

from interp.errors import DownloadError, IntegrityError
from interp.runs import fetch as module
from interp.runs.fetch import fetch

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def part(tmp_path):
    return tmp_path / "weights.part"


def test_a_file_is_fetched_whole(serve, part):
    server = serve({"/x": CONTENT})
    fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.asked == [("/x", None, len(CONTENT))]


def test_a_cut_line_is_taken_up_where_it_broke(serve, part):
    server = serve({"/x": CONTENT})
    server.cuts = [1000, 500]
    fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.asked == [
        ("/x", None, 1000),
        ("/x", "bytes=1000-", 500),
        ("/x", "bytes=1500-", len(CONTENT) - 1500),
    ]


def test_a_line_that_brings_nothing_new_is_given_up_and_what_came_is_kept(serve, part):
    server = serve({"/x": CONTENT})
    server.cuts = [1000, 0, 0]
    with pytest.raises(DownloadError, match=r"cut off at 1,000 of 10,240 bytes \(the line was closed\)"):
        fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT[:1000]


def test_a_server_that_ignores_range_gives_the_file_from_the_start(serve, part):
    server = serve({"/x": CONTENT})
    server.ignores_range = True
    part.write_bytes(b"old and wrong")
    fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.asked == [("/x", "bytes=13-", len(CONTENT))]


def test_a_redirect_keeps_the_range(serve, part):
    target, server = serve({"/y": CONTENT}), serve({})
    server.redirects = {"/x": f"{target.url}/y"}
    part.write_bytes(CONTENT[:700])
    fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert target.asked == [("/y", "bytes=700-", len(CONTENT) - 700)]


def test_a_complete_part_asks_for_nothing(part):
    part.write_bytes(CONTENT)
    fetch("http://nowhere.invalid/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused_before_a_byte_is_written(serve, part):
    server = serve({"/x": CONTENT})
    with pytest.raises(IntegrityError, match="offers a file of 10,240 bytes; expected 99"):
        fetch(f"{server.url}/x", part, size=99)
    assert not part.exists()


def test_no_more_is_written_than_the_file_has_when_the_server_does_not_say_its_size(serve, part):
    server = serve({"/x": CONTENT})
    server.tells_size = False
    with pytest.raises(IntegrityError, match="more than 99 bytes"):
        fetch(f"{server.url}/x", part, size=99)
    assert not part.exists() or part.stat().st_size <= 99
    fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.stat().st_size == len(CONTENT)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://[broken/x"])
def test_an_address_that_cannot_be_reached_says_why(part, url, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="not reachable"):
        fetch(url, part, size=1)


def test_a_refusal_gives_its_code(serve, part):
    with pytest.raises(DownloadError, match="HTTP 404"):
        fetch(f"{serve({}).url}/x", part, size=1)


def test_an_interruption_keeps_every_byte_that_came(serve, part, monkeypatch):
    server = serve({"/x": CONTENT})
    monkeypatch.setattr(module, "CHUNK", 1024)
    arrived = []

    class Bar:
        def __init__(self, **_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            arrived.append(n)
            if len(arrived) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "progress", Bar)
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT[: sum(arrived)]
    monkeypatch.undo()
    kept = sum(arrived)
    monkeypatch.setenv("no_proxy", "*")
    fetch(f"{server.url}/x", part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.asked[-1] == ("/x", f"bytes={kept}-", len(CONTENT) - kept)
