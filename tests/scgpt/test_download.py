import errno
import hashlib
from types import SimpleNamespace

import pytest

from interp.errors import DownloadError, InputError, IntegrityError
from interp.runs import fetch as transfer
from interp.scgpt import download as module
from interp.scgpt.download import download, download_model
from interp.scgpt.published import PUBLISHED, SCGPT_HUMAN, PublishedFile, PublishedModel

CONTENT = {"args.json": b"{}", "vocab.json": b'{"<pad>": 0}', "best_model.pt": bytes(range(256)) * 30}
WEIGHTS = "best_model.pt"
DEAD = "http://127.0.0.1:1/scgpt"


def small_model(*mirrors: str) -> PublishedModel:
    files = tuple(
        PublishedFile(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()
    )
    return PublishedModel("scgpt-small", files, mirrors, page="https://example.org/zoo")


@pytest.fixture
def host(serve):
    """Start a mirror under /m, with other contents for some files."""

    def start(**other):
        contents = CONTENT | {name.replace("_pt", ".pt"): content for name, content in other.items()}
        server = serve({f"/m/{name}": content for name, content in contents.items()})
        server.folder = f"{server.url}/m"
        return server

    return start


@pytest.fixture(autouse=True)
def no_mirrors_of_the_environment(monkeypatch):
    monkeypatch.delenv(module.MIRRORS_VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "*")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_arrives_complete_and_nothing_else_lies_beside_it(host, tmp_path):
    server = host()
    assert download(small_model(server.folder), tmp_path / "a" / "m") == tmp_path / "a" / "m"
    assert contents(tmp_path / "a" / "m") == CONTENT


def test_a_complete_folder_is_not_fetched_again(tmp_path):
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    download(small_model(DEAD), tmp_path)
    assert contents(tmp_path) == CONTENT


def test_only_what_is_missing_is_fetched(host, tmp_path):
    (tmp_path / WEIGHTS).write_bytes(CONTENT[WEIGHTS])
    server = host()
    download(small_model(server.folder), tmp_path)
    assert {path for path, _, _ in server.asked} == {"/m/args.json", "/m/vocab.json"}


def test_a_later_call_continues_the_part_that_an_earlier_one_kept(host, tmp_path):
    server = host()
    server.cuts = [9999, 9999, 4000, 0]
    with pytest.raises(DownloadError, match=r"Kept: 4,000 bytes in .*best_model.pt.part; the same command continues"):
        download(small_model(server.folder), tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    server.asked.clear()
    download(small_model(server.folder), tmp_path)
    assert server.asked == [(f"/m/{WEIGHTS}", "bytes=4000-", len(CONTENT[WEIGHTS]) - 4000)]
    assert contents(tmp_path) == CONTENT


def test_a_dead_mirror_is_passed_over(host, tmp_path):
    download(small_model(DEAD, host().folder), tmp_path)
    assert contents(tmp_path) == CONTENT


def test_a_mirror_with_wrong_bytes_is_passed_over(host, tmp_path):
    wrong = host(best_model_pt=bytes(len(CONTENT[WEIGHTS])))
    download(small_model(wrong.folder, host().folder), tmp_path)
    assert contents(tmp_path) == CONTENT


def test_wrong_bytes_everywhere_leave_no_file_and_name_both_sums(host, tmp_path):
    bad = bytes(len(CONTENT[WEIGHTS]))
    with pytest.raises(IntegrityError) as caught:
        download(small_model(host(best_model_pt=bad).folder), tmp_path)
    message = str(caught.value)
    assert hashlib.sha256(bad).hexdigest() in message
    assert hashlib.sha256(CONTENT[WEIGHTS]).hexdigest() in message
    assert "By hand" in message
    assert set(contents(tmp_path)) - {".lock"} == {"args.json", "vocab.json"}


def test_bytes_kept_from_a_wrong_mirror_do_not_spoil_a_right_one(host, tmp_path):
    (tmp_path / f"{WEIGHTS}.part").write_bytes(b"\0" * 1000)
    server = host()
    download(small_model(server.folder), tmp_path)
    assert contents(tmp_path) == CONTENT
    assert [given for path, given, _ in server.asked if WEIGHTS in path] == ["bytes=1000-", None]


def test_a_file_of_the_user_is_set_aside_not_lost(host, tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"my own weights")
    with pytest.raises(DownloadError):
        download(small_model(DEAD), tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == b"my own weights"
    download(small_model(host().folder), tmp_path)
    aside = f"{WEIGHTS}.wrong-{hashlib.sha256(b'my own weights').hexdigest()[:8]}"
    assert contents(tmp_path) == CONTENT | {aside: b"my own weights"}


def test_offline_the_message_says_what_was_tried_and_how_to_get_the_files_by_hand(tmp_path):
    model = small_model(DEAD, "http://127.0.0.1:1/other")
    with pytest.raises(DownloadError) as caught:
        download(model, tmp_path)
    message = str(caught.value)
    for part in (f"{DEAD}/args.json", "http://127.0.0.1:1/other/args.json", str(tmp_path), "--mirror", model.page):
        assert part in message
    for file in model.files:
        assert file.name in message
        assert file.sha256 in message


def test_a_full_disk_is_said_and_keeps_the_part(host, tmp_path, monkeypatch):
    server = host()
    append = transfer._append

    def fill(response, file, bar, *, size, **_):
        file.write(response.read1(min(size, 100)))
        if size > 100:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer, "_append", fill)
    with pytest.raises(DownloadError, match=r"no space left on the disk of .*7,580 more bytes are needed"):
        download(small_model(server.folder), tmp_path)
    assert (tmp_path / f"{WEIGHTS}.part").read_bytes() == CONTENT[WEIGHTS][:100]
    monkeypatch.setattr(transfer, "_append", append)
    download(small_model(server.folder), tmp_path)
    assert contents(tmp_path) == CONTENT


def test_too_little_space_is_said_before_anything_is_fetched(host, tmp_path, monkeypatch):
    server = host()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DownloadError, match="100 are free"):
        download(small_model(server.folder), tmp_path)
    assert server.asked == []


def test_given_mirrors_come_before_those_of_the_environment_and_these_before_the_known(host, tmp_path, monkeypatch):
    given, environment = host(), host()
    monkeypatch.setenv(module.MIRRORS_VARIABLE, f"{DEAD} {environment.folder}/")
    download(small_model(DEAD), tmp_path / "a")
    assert len(environment.asked) == 3
    download(small_model(DEAD), tmp_path / "b", [given.folder])
    assert len(environment.asked) == len(given.asked) == 3


def test_a_mirror_that_is_no_web_address_is_refused(tmp_path):
    with pytest.raises(InputError, match="/data/scgpt"):
        download(small_model(DEAD), tmp_path, ["/data/scgpt"])


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        download(small_model(DEAD), tmp_path / "file" / "m")


def test_an_unknown_model_lists_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"'scgpt-mouse'.*scgpt-human"):
        download_model("scgpt-mouse", tmp_path)


def test_the_published_whole_human_model_is_the_one_that_is_fetched(monkeypatch, tmp_path):
    taken = []
    monkeypatch.setattr(module, "download", lambda *given: taken.append(given))
    download_model("scgpt-human", tmp_path, mirrors=["https://a"])
    assert taken == [(SCGPT_HUMAN, tmp_path, ["https://a"])]
    assert {file.name for file in PUBLISHED["scgpt-human"].files} == set(CONTENT)
    assert all(len(file.sha256) == 64 for file in SCGPT_HUMAN.files)
