"""Fetching an archive: only when asked, resumable, over several hosts, and checked before it gets its final name."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from fedecho.core.checks import InputError
from fedecho.data.archives import ARCHIVES, Archive, ensure_unpacked, matches
from fedecho.data.folders import data_root

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60.0
OnBytes = Callable[[int, int, int | None], None]  # bytes just received, bytes so far, bytes in all (None: unknown)


class _HostError(Exception):
    """One host did not deliver; the next one is asked."""


def fetch(name: str, root: Path | None = None, progress: bool = True) -> Path:
    """Download and unpack data set `name` into the data folder and return the unpacked folder.

    Hosts are asked in turn, first the one that FEDECHO_MIRROR names (a base URL); an interrupted download continues
    where it stopped. InputError: a name that cannot be fetched, or no host that delivered the right file.
    """
    archive = _archive(name)
    folder = data_root(root)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.file
    if not (folder / archive.folder).is_dir() and not (target.is_file() and matches(target, archive.md5)):
        with _bar(archive.file, progress) as on_bytes:
            download(archive, target, hosts(archive), on_bytes)
    ensure_unpacked(archive, folder)
    return folder / archive.folder


def hosts(archive: Archive) -> list[str]:
    """Return the URLs to try in order; InputError if FEDECHO_MIRROR is not an http(s) base URL."""
    base = os.environ.get("FEDECHO_MIRROR")
    if not base:
        return list(archive.urls)
    if not base.startswith(("http://", "https://")):
        raise InputError("FEDECHO_MIRROR", base, "must be a base URL that starts with https:// or http://")
    return [f"{base.rstrip('/')}/{archive.file}", *archive.urls]


def download(archive: Archive, target: Path, urls: list[str], on_bytes: OnBytes) -> None:
    """Bring `archive` to `target` from the first of `urls` that delivers the right bytes; InputError if none does.

    Bytes gather in `target` + ".partial". Hosts serve identical files, so the next one continues what another began.
    """
    partial = target.with_name(target.name + ".partial")
    failures = []
    for url in urls:
        try:
            _from_host(url, archive.md5, partial, on_bytes)
        except (OSError, http.client.HTTPException, _HostError) as error:
            failures.append(f"{url}: {_reason(error)}")
            continue
        os.replace(partial, target)
        return
    raise InputError(
        "data", archive.file, f"no host delivered it; put it at {target} by hand ({'; '.join(failures) or 'no hosts'})"
    )


def _from_host(url: str, md5: str, partial: Path, on_bytes: OnBytes) -> None:
    resumed = partial.exists() and partial.stat().st_size > 0
    _receive(url, partial, on_bytes)
    if matches(partial, md5):
        return
    partial.unlink()
    if not resumed:
        raise _HostError("sent a file with another md5")
    # The earlier part may have been the bad one: ask this host once more, from the start.
    _from_host(url, md5, partial, on_bytes)


def _receive(url: str, partial: Path, on_bytes: OnBytes) -> None:
    """Append to `partial` what is lacking, or write it anew if the host ignores Range."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "fedecho"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            continues = response.status == 206 and _range_start(response.headers) == have
            _copy(response, partial, have if continues else 0, on_bytes)
    except urllib.error.HTTPError as error:
        # 416: there is nothing after the bytes we have. The caller's checksum tells whether they are the file.
        if error.code != 416 or not have:
            raise


def _copy(response: http.client.HTTPResponse, partial: Path, start: int, on_bytes: OnBytes) -> None:
    if response.status == 206 and not start:
        raise _HostError("answered with a part that was not asked for")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    received = start
    with partial.open("ab" if start else "wb") as file:
        on_bytes(start, start, total)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            received += len(chunk)
            on_bytes(len(chunk), received, total)
    # http.client ends a sized read silently when the connection drops, so the length is checked here.
    if total is not None and received < total:
        raise _HostError(f"connection lost after {received} of {total} bytes")


def _range_start(headers: http.client.HTTPMessage) -> int | None:
    """Return where the part that a 206 answer holds begins, from `Content-Range: bytes START-END/TOTAL`."""
    first = headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    return int(first) if first.isdigit() else None


def _reason(error: Exception) -> str:
    text = str(getattr(error, "reason", None) or error) or type(error).__name__
    return text.splitlines()[0]


def _archive(name: str) -> Archive:
    if name in ARCHIVES:
        return ARCHIVES[name]
    if name == "fashion-mnist":
        raise InputError("data", name, "it comes with the package, there is nothing to fetch")
    raise InputError("data", name, f"choose one of {', '.join(ARCHIVES)}")


@contextmanager
def _bar(label: str, shown: bool) -> Iterator[OnBytes]:
    # import_module: tqdm carries no types of its own, and whether a stub package is there must not matter to mypy.
    tqdm = import_module("tqdm.auto").tqdm if shown else None
    if tqdm is None:
        yield lambda _new, _received, _total: None
        return
    with tqdm(desc=label, unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def on_bytes(new: int, received: int, total: int | None) -> None:
            bar.total = total
            if received < bar.n:
                bar.reset(total)
            bar.update(received - bar.n)

        yield on_bytes
