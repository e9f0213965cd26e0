"""Fetch a file over HTTP so that a cut line costs nothing: what came so far stays in a part file and is continued."""

from __future__ import annotations

import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import DownloadError, IntegrityError
from interp.runs.progress import BYTES, progress

if TYPE_CHECKING:
    from http.client import HTTPResponse

log = logging.getLogger(__name__)

CHUNK = 2**18  # bytes read at once
SECONDS_OF_SILENCE = 30.0  # after which a line counts as dead
SECONDS_BETWEEN_ATTEMPTS = 1.0
ATTEMPTS = 8  # at one address, as long as each brings something new
OK, PARTIAL = 200, 206
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


def fetch(url: str, part: Path, *, size: int) -> None:
    """Bring a part file to its full size, beginning where it ends; nothing is asked for when it is complete.

    A cut line is taken up again as long as every attempt brings something new.

    Parameters
    ----------
    url
        ``http://`` or ``https://`` address of the file; redirects and the proxies of the environment are followed.
    part
        The part file; its folder exists.
    size
        Bytes of the whole file; never is more than this written.

    Raises
    ------
    DownloadError
        The address cannot be reached, refuses, or was cut off; what came is in the part file.
    IntegrityError
        The address offers a file of another size.
    OSError
        The part file cannot be written, for instance because the disk is full.
    """
    if _length(part) > size:
        part.unlink()
    for attempt in range(1, ATTEMPTS + 1):
        before = _length(part)
        if before == size:
            return
        try:
            _transfer(url, part, size)
        except DownloadError as error:
            if attempt == ATTEMPTS or _length(part) <= before:
                raise
            log.info("%s: %s; continuing", part.stem, error)
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def _transfer(url: str, part: Path, size: int) -> None:
    """Ask once for what is missing and append it, until it is complete or the line is cut."""
    start = _length(part)
    # Compressed content would not have the size and the ranges of the file.
    headers = {"User-Agent": "interp", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with _open(url, headers) as response:
        begin, total = _offered(response)
        if total not in (None, size):
            msg = f"offers a file of {total:,} bytes; expected {size:,}"
            raise IntegrityError(msg)
        if begin not in (0, start):
            msg = f"sends the bytes from {begin:,} on when asked for those from {start:,} on"
            raise DownloadError(msg)
        description = f"{part.stem}, continued at {begin:,} bytes" if begin else part.stem
        with (
            part.open("ab" if begin else "wb") as file,
            progress(total=size - begin, description=description, unit=BYTES) as bar,
        ):
            _append(response, file, bar, begin=begin, size=size, ends=total is None)
            file.flush()
            os.fsync(file.fileno())


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.urlopen(request, timeout=SECONDS_OF_SILENCE)
    except urllib.error.HTTPError as error:
        error.close()
        msg = f"HTTP {error.code} {error.reason}"
        raise DownloadError(msg) from error
    except (*NETWORK_ERRORS, ValueError) as error:  # ValueError: an address that cannot be read
        msg = f"not reachable ({_reason(error)})"
        raise DownloadError(msg) from error


def _offered(response: HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte that the answer holds and the size of the whole file, None where it is not said."""
    if response.status == PARTIAL:
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found:
            msg = "answers with a part of the file and does not say which"
            raise DownloadError(msg)
        return int(found[1]), None if found[2] == "*" else int(found[2])
    if response.status != OK:
        msg = f"HTTP {response.status} {response.reason}"
        raise DownloadError(msg)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _append(response: HTTPResponse, file: Any, bar: Any, *, begin: int, size: int, ends: bool) -> None:
    """Write what comes up to `size`; where only the line's end ends the answer, one byte more is looked for."""
    have = begin
    while have < size or ends:
        try:
            block, reason = response.read1(min(CHUNK, size - have + ends)), "the line was closed"
        except NETWORK_ERRORS as error:
            block, reason = b"", _reason(error)
        if not block:
            break
        if have + len(block) > size:
            msg = f"sends more than {size:,} bytes"
            raise IntegrityError(msg)
        file.write(block)
        have += len(block)
        bar.update(len(block))
    if have < size:
        msg = f"cut off at {have:,} of {size:,} bytes ({reason})"
        raise DownloadError(msg)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    return str(inner or error) or type(error).__name__
