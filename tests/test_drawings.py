"""Rounding of another processor passes for the same drawing; another number, label or colour does not."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fedecho.core import files
from fedecho.report import drawings, figures
from fedecho.report.drawings import _STREAM, same
from fedecho.studies.check import differences

Change = Callable[[Axes], object]


def sizes_of_type(pdf: bytes) -> list[float]:
    """The sizes of type in a PDF as matplotlib writes it, in points."""
    streams = [zlib.decompress(found) for found in _STREAM.findall(pdf)]
    return sorted({float(size) for stream in streams for size in re.findall(rb"/F\d+ ([\d.]+) Tf", stream)})


def drawn(folder: Path, change: Change, record_set: str = "0123456789ab") -> Path:
    """Save a figure of a line, a marker and a map of four fields after `change`; return its stem."""
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.imshow([[0.0, 0.5], [0.75, 1.0]], extent=(2, 3, 1, 3), vmin=0, vmax=1)
    axes.plot([1, 2, 3], [1.0, 3.0, 2.0])
    axes.plot([1.5], [2.0], "o")
    axes.text(1.2, 2.5, "0.71")
    change(axes)
    axes.set(xlim=(0, 4), ylim=(0, 4))
    figures.save_figure(figure, folder / "f", record_set)
    return folder / "f"


def unchanged(axes: Axes) -> None:
    pass


def move(amount: float) -> Change:
    return lambda axes: axes.lines[1].set_data([1.5], [2.0 + amount])


def both(tmp_path: Path, change: Change, record_set: str = "0123456789ab") -> list[bool]:
    one, two = drawn(tmp_path / "a", unchanged), drawn(tmp_path / "b", change, record_set)
    return [same(one.with_suffix(s).read_bytes(), two.with_suffix(s).read_bytes(), s) for s in (".pdf", ".png")]


def test_last_bits_do_not_matter(tmp_path: Path) -> None:
    assert both(tmp_path, unchanged) == [True, True]
    assert both(tmp_path, move(1e-7)) == [True, True]


@pytest.mark.parametrize("change", [
    move(0.02), move(-0.02),  # a pixel
    lambda axes: axes.lines[0].set_ydata([1.0, 3.0, 2.02]),
    lambda axes: axes.texts[0].set_text("0.72"),
    lambda axes: axes.lines[0].set_color("#000000"),
    lambda axes: axes.lines[0].set_linestyle("--"),
    lambda axes: axes.lines[1].remove(),
    lambda axes: axes.images[0].set_data([[0.0, 0.5], [0.76, 1.0]]),
    lambda axes: axes.set_title("t"),
])  # fmt: skip
def test_another_number_fails(change: Change, tmp_path: Path) -> None:
    assert both(tmp_path, change) == [False, False]


def test_other_records_fail(tmp_path: Path) -> None:
    assert both(tmp_path, unchanged, "ba9876543210") == [False, False]


def png(*lighter: tuple[int, int], by: int, note: str = "x") -> bytes:
    """A picture of 200 x 200 half-grey pixels, of which some are lighter."""
    pixels = np.full((200, 200, 4), 128, dtype=np.uint8)
    for place in lighter:
        pixels[place] += by
    label, out = PngInfo(), io.BytesIO()
    label.add_text("Description", note)
    Image.fromarray(pixels).save(out, "png", pnginfo=label)
    return out.getvalue()


def test_few_pixels_may_differ_by_little() -> None:
    plain, row = png(by=0), [(0, k) for k in range(5)]
    assert same(plain, png(*row[:4], by=2), ".png")
    assert not same(plain, png(*row, by=2), ".png")  # too many
    assert not same(plain, png(row[0], by=3), ".png")  # too much
    assert not same(plain, png(by=0, note="y"), ".png")
    assert not same(plain, png(by=0)[:-30], ".png")
    assert not same(plain, b"", ".png")


def pdf(content: str) -> bytes:
    packed = zlib.compress(content.encode())
    length = b"2 0 obj\n%d\nendobj\nxref\n" % len(packed)
    return b"%PDF\n1 0 obj\n<< >>\nstream\n" + packed + b"\nendstream\nendobj\n" + length


@pytest.mark.parametrize("one, two, equal", [
    ("1.5 2 m", "1.500001 2 m", True), ("1 2 m", "1.000001 2 m", True), ("-.5 0 m", "-0.5 0 m", True),
    ("0.000001 m", "0 m", True), ("1.5 2 m", "1.5001 2 m", False), ("1.5 2 m", "1.5 2 l", False),
    ("1.5 2 m", "1.5 2 m 3 3 l", False), ("(1.5) Tj", "(1.500001) Tj", False), (r"(\(1.5) Tj", r"(\(1.50) Tj", False),
    ("/F1 6 Tf", "/F2 6 Tf", False), ("1 2", "12", False), ("5 -5", "5 5", False),
])  # fmt: skip
def test_numbers_of_a_pdf_may_differ_in_the_last_place(one: str, two: str, equal: bool) -> None:
    assert same(pdf(one), pdf(two), ".pdf") is equal


def test_all_else_is_compared_by_bytes() -> None:
    assert same(b"1.5", b"1.5", ".csv")
    assert not same(b"1.5", b"1.500001", ".csv")
    assert not same(pdf("1 0 m"), struct.pack("d", 1.0), ".pdf")


def test_what_shows_the_same_is_not_written_again(tmp_path: Path) -> None:
    stem = drawn(tmp_path, unchanged)
    before = [stem.with_suffix(s).read_bytes() for s in (".pdf", ".png")]
    drawn(tmp_path, move(1e-7))
    assert [stem.with_suffix(s).read_bytes() for s in (".pdf", ".png")] == before
    drawn(tmp_path, move(0.02))
    assert not any(stem.with_suffix(s).read_bytes() == old for s, old in zip((".pdf", ".png"), before, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.pdf", "f.png"]


def test_the_check_passes_rounding_and_names_a_moved_marker(tmp_path: Path) -> None:
    one, near, far = (drawn(tmp_path / name, move(by)).parent for name, by in (("a", 0), ("b", 1e-7), ("c", 0.02)))
    assert differences(one, near) == []
    assert [line.split(":")[0] for line in differences(one, far)] == ["a/f.pdf", "a/f.png"]


def test_figures_fit_a_column_or_a_page_with_type_that_can_be_read() -> None:
    paper = files.REPOSITORY / "paper"
    for path in sorted(paper.glob("figures/*.pdf")):
        pdf, width = path.read_bytes(), drawings.inches(path.read_bytes())
        assert width is not None and round(width, 2) in (figures.COLUMN, figures.WIDTH), path.name
        # Exponents are set at 70 % of the size of their line.
        assert {size for size in sizes_of_type(pdf) if size < 6.5} <= {4.55, 4.9, 5.25}, path.name
        assert b"/Type3" not in pdf, path.name


def test_width_and_type_of_a_pdf(tmp_path: Path) -> None:
    with figures.style():
        figure = Figure(figsize=(figures.COLUMN, 1))
        figure.text(0.1, 0.5, "x", fontsize=6)
        figures.save_figure(figure, tmp_path / "x", "0123456789ab")
    pdf = (tmp_path / "x.pdf").read_bytes()
    assert drawings.inches(pdf) == pytest.approx(figures.COLUMN) and sizes_of_type(pdf) == [6]
    assert drawings.inches(b"%PDF-1.4") is None
