"""Downloads resume, survive bad hosts and never leave an unchecked file; unpacking is safe and all or nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from fedecho.core.checks import InputError
from fedecho.data import download, npz
from fedecho.data.download import ARCHIVES, Archive

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


OK, BODY = b"HTTP/1.1 200 OK\r\n", CONTENT[:2048]
ODD: dict[str, tuple[bytes, bytes, int | None]] = {
    "endless": (OK + b"\r\n", BODY, None),
    "endless chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"800\r\n" + BODY + b"\r\n", None),
    "an endless part": (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\n\r\n", BODY, None),
    "an endless word": (b"", b"x" * 4096, None),
    "an endless header": (OK + b"X: ", b"x" * 4096, None),
    "endless headers": (OK, b"X: x\r\n", None),
    "unpacks to more": (OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(10**6)), 1),
    "is not packed": (OK + b"Content-Encoding: gzip\r\n\r\n", BODY, 1),
    "a length of a terabyte": (OK + b"Content-Length: 1000000000000\r\n\r\n", BODY, 1),
    "a length below 0": (OK + b"Content-Length: -1\r\n\r\n", BODY, 1),
    "a length of letters": (OK + b"Content-Length: many\r\n\r\n", BODY, 1),
    "two lengths": (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", BODY, 1),
    "a length of digits": (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", BODY, 1),
    "chunks of no size": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"many\r\n", 1),
    "a header of no name": (OK + b": x\r\n\xff\xfe: \x00\r\n\r\n", BODY, 1),
    "no answer": (b"", b"", 0),
    "no status": (b"HELLO\r\n\r\n", b"", 0),
    "a status that is none": (b"HTTP/1.1 999999 What\r\n\r\n", BODY, 1),
    "a part of something else": (b"HTTP/1.1 206 Part\r\nContent-Range: bytes 5-6/7\r\n\r\n", BODY, 1),
    "no part": (b"HTTP/1.1 416 No\r\n\r\n", b"", 0),
    "a file": (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", b"", 0),
    "nowhere": (b"HTTP/1.1 302 Found\r\nLocation: http://[/\r\n\r\n", b"", 0),
    "itself": (b"HTTP/1.1 302 Found\r\nLocation: /itself\r\n\r\n", b"", 0),
}
"""Manner -> the head of the answer, the body, and how many times that comes (none = without end)."""


class Host(BaseHTTPRequestHandler):
    """Serves CONTENT in the manner that the path names and notes which Range was asked for."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        """Answer one request."""
        manner, wanted = unquote(self.path).strip("/").split("/")[0], self.headers.get("Range")
        self.asked.append((manner, wanted))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if manner in ODD:
            self.odd(*ODD[manner])
        elif manner == "absent":
            self.send_error(404)
        elif manner == "ignores-range" or not start:
            self.answer(200, bytes(len(CONTENT)) if manner == "wrong" else CONTENT, cut=manner == "dies")
        elif start >= len(CONTENT):
            self.send_error(416)
        else:
            self.answer(206, CONTENT[start:], f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")

    def odd(self, head: bytes, body: bytes, repeats: int | None) -> None:
        """Send a head and a body as they are, the latter so many times, or until nobody listens any more."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(head)
            for _ in itertools.count() if repeats is None else range(repeats):
                self.wfile.write(body)

    def answer(self, status: int, body: bytes, content_range: str | None = None, cut: bool = False) -> None:
        """Send `body`, or only half of what the header promises."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body[:HALF] if cut else body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a server on this machine and yield its base URL."""
    monkeypatch.setattr(download, "CHUNK", 1024)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Host, "asked", [], raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def get(host: str, target: Path, *manners: str) -> None:
    """Download from hosts of these manners in turn."""
    urls = [f"{host}/{manner}/a.tar.gz" for manner in manners]
    download.download(Archive("a.tar.gz", MD5, "a", (), len(CONTENT)), target.parent, urls, progress=False)


def partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def test_a_whole_download_gets_its_final_name(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    get(host, target, "plain")
    assert target.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [target]


def test_an_earlier_part_is_continued(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    partial(target).write_bytes(CONTENT[:1000])
    get(host, target, "plain")
    assert target.read_bytes() == CONTENT
    assert Host.asked == [("plain", "bytes=1000-")]


def test_a_connection_that_dies_is_continued_at_the_next_host(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    get(host, target, "dies", "plain")
    assert target.read_bytes() == CONTENT
    assert Host.asked == [("dies", None), ("plain", f"bytes={HALF}-")]


def test_a_connection_that_dies_keeps_its_part_for_the_next_call(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    with pytest.raises(InputError, match="Connection broken.*5120 bytes read"):
        get(host, target, "dies")
    assert partial(target).read_bytes() == CONTENT[:HALF] and not target.exists()


def test_a_host_that_ignores_range_starts_anew(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    partial(target).write_bytes(CONTENT[:1000])
    get(host, target, "ignores-range")
    assert target.read_bytes() == CONTENT


def test_wrong_bytes_leave_no_file_at_all(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    with pytest.raises(InputError, match="does not match the known hash"):
        get(host, target, "wrong")
    assert list(tmp_path.iterdir()) == []


def test_after_wrong_bytes_the_next_host_starts_clean(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    get(host, target, "wrong", "plain")
    assert target.read_bytes() == CONTENT and Host.asked[-1] == ("plain", None)


@pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 5])
def test_a_spoilt_earlier_part_is_thrown_away_and_the_host_asked_again(host: str, tmp_path: Path, size: int) -> None:
    target = tmp_path / "a.tar.gz"
    partial(target).write_bytes(b"x" * size)
    get(host, target, "plain")
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in Host.asked] == [f"bytes={size}-", None]


def test_a_part_that_is_complete_already_is_taken(host: str, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    partial(target).write_bytes(CONTENT)
    get(host, target, "plain")
    assert target.read_bytes() == CONTENT and len(Host.asked) == 1


def test_when_every_host_fails_one_line_says_where_to_put_the_file(host: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        get(host, tmp_path / "a.tar.gz", "absent", "wrong")
    message = str(caught.value)
    assert str(tmp_path / "a.tar.gz") in message and "absent" in message and "wrong" in message
    assert "\n" not in message


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("manner", ODD)
def test_whatever_a_host_answers_the_next_one_is_asked(
    host: str, tmp_path: Path, manner: str, progress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sends never takes more room than the file; alone, it is refused in one line."""

    class Watched(download._Bounded):
        def write(self, data: bytes) -> int:
            written = super().write(data)
            sizes.append(self._file.tell())
            return written

    sizes = [0]
    monkeypatch.setattr(download, "_Bounded", Watched)
    target, urls = tmp_path / "a.tar.gz", [f"{host}/{manner}/a.tar.gz", f"{host}/plain/a.tar.gz"]
    archive = Archive("a.tar.gz", MD5, "a", (), len(CONTENT))
    with pytest.raises(InputError) as caught:
        download.download(archive, tmp_path, urls[:1], progress)
    assert str(caught.value).isprintable() and manner in str(caught.value)
    assert max(sizes) <= len(CONTENT) and not target.exists()
    download.download(archive, tmp_path, urls, progress)
    assert target.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [target]


def tarball(folder: Path, members: dict[str, bytes]) -> Archive:
    """Write an archive of these members into `folder` and return its description."""
    path = folder / "toy.tar.gz"
    with tarfile.open(path, "w:gz") as bundle:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return Archive("toy.tar.gz", hashlib.md5(path.read_bytes()).hexdigest(), "toy", ())


def test_unpacking_gives_the_folder_and_leaves_no_scratch(tmp_path: Path) -> None:
    assert download.ensure_unpacked(tarball(tmp_path, {"toy/batch": b"1"}), tmp_path)
    assert (tmp_path / "toy" / "batch").read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy", "toy.tar.gz"]


def test_nothing_there_is_not_an_error(tmp_path: Path) -> None:
    assert not download.ensure_unpacked(ARCHIVES["cifar10"], tmp_path)


def test_an_archive_with_another_md5_is_not_unpacked(tmp_path: Path) -> None:
    archive = tarball(tmp_path, {"toy/batch": b"1"})
    with (tmp_path / archive.file).open("ab") as file:
        file.write(b"!")
    with pytest.raises(InputError, match="md5"):
        download.ensure_unpacked(archive, tmp_path)
    assert not (tmp_path / "toy").exists()


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "ends in its head": lambda content: content[:5],
    "ends in the middle": _half,
    "no tar": lambda content: gzip.compress(b"x" * 2000),
    "half a tar": lambda content: gzip.compress(_half(gzip.decompress(content))),
    "not packed": gzip.decompress,
    "a bit in the middle": lambda content: content[:60] + bytes([content[60] ^ 16]) + content[61:],
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_archive_of_the_right_md5_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    archive = tarball(tmp_path, {"toy/batch": bytes(range(256)) * 40, "toy/other": b"1"})
    path = tmp_path / archive.file
    path.write_bytes(SPOILT[how](path.read_bytes()))
    spoilt = replace(archive, md5=hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(InputError) as caught:
        download.ensure_unpacked(spoilt, tmp_path)
    assert "safe to unpack" in str(caught.value) and str(caught.value).isprintable()
    assert [each.name for each in tmp_path.iterdir()] == ["toy.tar.gz"]


def test_no_flipped_bit_of_an_archive_ends_in_a_traceback(tmp_path: Path) -> None:
    """Every 29th bit, the md5 being that of what there is; what unpacks nevertheless is caught by the right md5."""
    archive = tarball(tmp_path, {"toy/batch": bytes(range(256)) * 40, "toy/other": b"1"})
    path, causes = tmp_path / archive.file, set()
    content = path.read_bytes()
    for place in range(0, 8 * len(content), 29):
        spoilt = bytearray(content)
        spoilt[place // 8] ^= 1 << place % 8
        path.write_bytes(spoilt)
        try:
            download.ensure_unpacked(replace(archive, md5=hashlib.md5(spoilt).hexdigest()), tmp_path)
        except InputError as error:
            causes.add(type(error.__context__))
        shutil.rmtree(tmp_path / "toy", ignore_errors=True)
    assert {zlib.error, gzip.BadGzipFile, tarfile.ReadError} <= causes


@pytest.mark.parametrize(("largest", "fits"), [(4, False), (5, True)])
def test_an_archive_unpacks_to_no_more_than_is_allowed(
    tmp_path: Path, largest: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All members together, by what their headers say; nothing of them is left."""
    monkeypatch.setattr(npz, "LARGEST", largest)
    archive = tarball(tmp_path, {"toy/a": b"12", "toy/b": b"345"})
    if fits:
        assert download.ensure_unpacked(archive, tmp_path) and (tmp_path / "toy" / "b").read_bytes() == b"345"
        return
    with pytest.raises(InputError, match="safe to unpack .it unpacks to more than 4 bytes"):
        download.ensure_unpacked(archive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.tar.gz"]


@pytest.mark.parametrize("members", [{"toy/a": b"1", "../escaped": b"2"}, {"other/a": b"1"}])
def test_an_archive_that_escapes_or_lacks_the_folder_leaves_nothing(tmp_path: Path, members: dict[str, bytes]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(InputError):
        download.ensure_unpacked(tarball(root, members), root)
    assert [path.name for path in root.iterdir()] == ["toy.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("progress", [False, True])
def test_fetch_downloads_once_from_the_named_mirror_and_unpacks(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progress: bool
) -> None:
    made = tarball(tmp_path, {"toy/batch": b"1"})
    content = (tmp_path / "toy.tar.gz").read_bytes()
    monkeypatch.setitem(globals(), "CONTENT", content)
    monkeypatch.setitem(ARCHIVES, "cifar10", made)
    monkeypatch.setenv("FEDECHO_MIRROR", f"{host}/plain/")
    root = tmp_path / "new" / "folder"
    assert download.fetch("cifar10", root, progress=progress) == root / "toy"
    assert (root / "toy" / "batch").read_bytes() == b"1"
    download.fetch("cifar10", root, progress=progress)
    assert Host.asked == [("plain", None)]


def test_the_named_mirror_comes_first_and_must_be_http(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = ARCHIVES["cifar10"]
    monkeypatch.delenv("FEDECHO_MIRROR", raising=False)
    assert download.hosts(archive) == list(archive.urls)
    monkeypatch.setenv("FEDECHO_MIRROR", "https://mirror.example/data/")
    assert download.hosts(archive)[0] == "https://mirror.example/data/cifar-10-python.tar.gz"
    monkeypatch.setenv("FEDECHO_MIRROR", "file:///etc")
    with pytest.raises(InputError, match="FEDECHO_MIRROR"):
        download.hosts(archive)


@pytest.mark.parametrize(("name", "reason"), [("fashion-mnist", "comes with the package"), ("cifar", "choose one of")])
def test_what_cannot_be_fetched_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        download.fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
