"""Images of every kind, whole and damaged, bombs, and files that are no images."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gzfound.data import decode_image, decoded_images, load_dataset, read_images
from gzfound.data.decode import _decode_pil
from gzfound.errors import DataError

Refused = Callable[..., str | None]
Damaged = Callable[[bytes, str, int], bytes]

WAYS = ("cut", "flip", "drop", "zero")
SEEDS = range(12)


def picture(mode: str, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Image.Image:
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    image.save(out := io.BytesIO(), kind, **options)
    return out.getvalue()


def kinds() -> dict[str, bytes]:
    """A whole file of every kind that is read."""
    deep = Image.fromarray(np.random.default_rng(1).integers(0, 65535, (20, 24), dtype=np.uint16))
    others = [picture("RGB", 1), picture("RGB", 2)]
    turned = Image.Exif()
    turned[0x0112] = 6
    whole = {f"{mode} {kind}": written(picture(mode), kind) for mode, kind in PLAIN}
    return {
        **whole,
        "progressive JPEG": written(picture("RGB"), "JPEG", progressive=True),
        "turned JPEG": written(picture("RGB"), "JPEG", exif=turned),
        "16-bit PNG": written(deep, "PNG"),
        "16-bit TIFF": written(deep, "TIFF"),
        "LZW TIFF": written(picture("RGB"), "TIFF", compression="tiff_lzw"),
        "JPEG TIFF": written(picture("RGB"), "TIFF", compression="jpeg"),
        "transparent PNG": written(picture("RGB"), "PNG", transparency=(1, 2, 3)),
        "turned PNG": written(picture("RGB"), "PNG", exif=turned),
        "animated PNG": written(picture("RGB"), "PNG", save_all=True, append_images=others),
        "animated GIF": written(picture("P"), "GIF", save_all=True, append_images=others),
        "animated WEBP": written(picture("RGB"), "WEBP", save_all=True, append_images=others),
        "one pixel": written(picture("RGB", size=(1, 1)), "PNG"),
        "one pixel JPEG": written(picture("L", size=(1, 1)), "JPEG"),
        "one row": written(picture("RGB", size=(300, 1)), "PNG"),
    }


PLAIN = [
    *((mode, "PNG") for mode in ("RGB", "L", "P", "1", "RGBA", "LA")),
    *((mode, "JPEG") for mode in ("RGB", "L", "CMYK")),
    *((mode, "TIFF") for mode in ("RGB", "CMYK", "L")),
    ("RGB", "BMP"),
    ("RGB", "WEBP"),
    ("RGBA", "WEBP"),
    ("P", "GIF"),
    ("RGB", "PPM"),
]
KINDS = kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_whole_images_are_what_pil_makes_of_them(kind: str) -> None:
    """The first picture of an animation; JPEG may differ by a grey level between builds."""
    found = decode_image(KINDS[kind], kind)
    expected = _decode_pil(KINDS[kind], kind)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= ("JPEG" in kind)


def test_damage_ends_in_a_line_or_in_the_whole_picture(refused: Refused, damaged: Damaged) -> None:
    """What is cut short is never half a picture; a PNG, all under checksums, never a wrong one.

    A JPEG, TIFF, BMP or GIF has no checksum, so flipped bits may change its pixels.
    """
    cases = ends = 0
    for kind, data in KINDS.items():
        whole = decode_image(data, kind)
        for way, seed in ((way, seed) for way in WAYS for seed in SEEDS):
            case = f"{kind}, {way} {seed}"
            bad = damaged(data, way, seed)
            cases += 1
            if refused(case, partial(decode_image, bad, "deep/g3.jpg"), "deep/g3.jpg"):
                ends += 1
            elif way == "cut" or ("PNG" in kind and "animated" not in kind):
                np.testing.assert_array_equal(decode_image(bad, ""), whole, err_msg=case)
    assert cases == 31 * 4 * 12
    assert ends > cases / 2


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join((header, *chunks, chunk(b"IEND", b"")))


def bombs() -> dict[str, bytes]:
    """Small files that claim to be, or grow to be, gigabytes."""
    zeros = zlib.compress(bytes(2**27), 9)
    jpeg = bytearray(KINDS["RGB JPEG"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    gif = bytearray(KINDS["P GIF"])
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(KINDS["RGB BMP"])
    bmp[18:26] = struct.pack("<ii", 2**30, 2**30)
    claims = {
        f"PNG {width}x{height}, {depth} bits, colour {colour}": png_of(
            width, height, depth, colour, chunk(b"IDAT", zeros)
        )
        for width, height in ((50_000, 50_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**30))
        for depth, colour in ((8, 2), (8, 0), (16, 2), (8, 6), (1, 0))
    }
    text = chunk(b"zTXt", b"a\0\0" + zeros)
    profile = chunk(b"iCCP", b"a\0\0" + zeros)
    return {
        **claims,
        "JPEG 65500x65500": bytes(jpeg),
        "GIF 65535x65535": bytes(gif),
        "BMP of 2^60 pixels": bytes(bmp),
        "PPM": b"P6 100000 100000 255\n" + bytes(100),
        "text of 128 MiB": png_of(4, 4, 16, 2, text, chunk(b"IDAT", b"")),
        "profile of 128 MiB": png_of(4, 4, 16, 2, profile, chunk(b"IDAT", b"")),
    }


def test_bombs_are_refused_without_their_memory(refused: Refused) -> None:
    cases = bombs()
    assert len(cases) == 26
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case, data in cases.items():
        assert refused(case, partial(decode_image, data, "bomb.jpg"), "bomb.jpg"), case
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 200, f"{grown:.0f} MiB"


def no_images() -> dict[str, bytes]:
    noise = np.random.default_rng(0)
    starts = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"RIFF\0\0\0\0WEBP")
    return {
        "empty": b"",
        "text": b"a galaxy, far away",
        "web page": b"<!doctype html><title>404</title>",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "PDF": b"%PDF-1.7\n1 0 obj",
        "ZIP": b"PK\x03\x04" + bytes(40),
        "program": b"\x7fELF" + bytes(60),
        "pickle": b"\x80\x04\x95",
        "table": b"PAR1" + bytes(20) + b"PAR1",
        "marks of a PNG alone": b"\x89PNG\r\n\x1a\nIEND\xaeB`\x82",
        "PNG of no pixels": png_of(0, 0, 8, 2, chunk(b"IDAT", b"")),
        "PNG without data": png_of(4, 4, 8, 2),
        "PNG with a header that is short": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0"),
        "JPEG of marks": b"\xff\xd8" + b"\xff" * 40 + b"\xff\xd9",
        "JPEG of no pixels": b"\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\0\1\1\x11\0\xff\xd9",
        "JPEG with a length of 0": b"\xff\xd8\xff\xe0\0\0\xff\xd9",
        **{
            f"noise {n} after {start!r}": start + noise.bytes(n)
            for start in starts
            for n in (1, 7, 30, 99, 1000, 5000)
        },
    }


def test_what_is_no_image_is_refused(refused: Refused) -> None:
    cases = no_images()
    assert len(cases) == 52
    for case, data in cases.items():
        assert refused(case, partial(decode_image, data, "deep/g3.jpg"), "deep/g3.jpg"), case


def test_postscript_is_not_handed_to_an_interpreter(
    refused: Refused, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PIL would start ``gs``, here a program that leaves a file, on what is only called a JPEG."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{canary}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n0 0 moveto\n%%EOF\n"
    assert "not an image" in str(refused("EPS", partial(decode_image, page, "g.jpg"), "g.jpg"))


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """Two whole images."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(KINDS["RGB PNG"])
    return folder


def read_all(folder: Path, **options: Any) -> list[str]:
    dataset = load_dataset(folder, split="train", **options)
    read = [rows for rows, _ in read_images(dataset, 8, threads=1, **options)]
    return [dataset["id_str"][row] for rows in read for row in rows.tolist()]


def pipe(path: Path) -> None:
    os.mkfifo(path)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": pipe,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "broken link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "empty": lambda path: path.write_bytes(b""),
    "a terabyte of nothing": lambda path: os.truncate(path, 2**40) if path.touch() is None else 0,
    "a PNG called JPEG, cut": lambda path: path.write_bytes(KINDS["RGB PNG"][:-20]),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_special_files_are_named_or_skipped(
    refused: Refused, cutouts: Path, tmp_path: Path, case: str
) -> None:
    SPECIAL[case](cutouts / "odd.jpg")
    assert refused(case, partial(read_all, cutouts), str(cutouts / "odd.jpg"))
    errors = tmp_path / "errors.jsonl"
    assert read_all(cutouts, on_error="skip", errors_path=errors) == ["a", "b"]
    (line,) = errors.read_text().splitlines()
    assert json.loads(line)["id_str"] == "odd"


def test_a_mislabelled_image_is_read_for_what_it_is(cutouts: Path) -> None:
    (cutouts / "c.jpg").write_bytes(KINDS["RGB PNG"])
    assert read_all(cutouts) == ["a", "b", "c"]


def test_links_that_go_round_end(cutouts: Path) -> None:
    """A folder that holds itself, and two that hold each other, are each listed once."""
    (cutouts / "self").symlink_to(cutouts)
    for name, other in (("one", "two"), ("two", "one")):
        (cutouts / name).mkdir()
        (cutouts / name / f"{name}.png").write_bytes(KINDS["RGB PNG"])
        (cutouts / name / "other").symlink_to(cutouts / other)
    found = load_dataset(cutouts, split="train")["id_str"][:]
    assert found == ["a", "b", "one/one", "one/other/two", "two/other/one", "two/two"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    cutouts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cutouts / "locked").mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"locked: cannot be read \(Permission denied\)"):
        load_dataset(cutouts)
    assert load_dataset(cutouts, on_error="skip")["train"].num_rows == 2


@pytest.mark.parametrize("name", ["images.npy", "rows.npy", "skipped.jsonl"])
def test_a_damaged_cache_is_named_with_the_remedy(
    refused: Refused, cutouts: Path, tmp_path: Path, name: str
) -> None:
    """A pickle in its place is not opened: numpy is not allowed to."""
    (cutouts / "bad.png").write_bytes(b"")
    dataset = load_dataset(cutouts, split="train")
    keep: dict[str, Any] = {"directory": tmp_path / "cache", "on_error": "skip"}
    decoded_images(dataset, 8, **keep)
    (held,) = (tmp_path / "cache").iterdir()
    np.save(pickled := tmp_path / "p.npy", np.array([{}], dtype=object), allow_pickle=True)
    for data in (b"", (held / name).read_bytes()[:20], pickled.read_bytes()):
        (held / name).write_bytes(data)
        said = refused(name, partial(decoded_images, dataset, 8, **keep), str(held))
        assert said is None or "damaged" in said
        assert said or (name == "skipped.jsonl" and not data)


def test_names_that_are_no_text_or_break_lines(
    refused: Refused, cutouts: Path, tmp_path: Path
) -> None:
    (cutouts / "two\nlines.png").write_bytes(b"")
    assert "two\\nlines" in str(refused("line break", partial(read_all, cutouts), "lines.png"))
    try:
        (cutouts / os.fsdecode(b"\xff.png")).write_bytes(KINDS["RGB PNG"])
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    assert "not UTF-8" in str(refused("bytes", partial(load_dataset, cutouts), "\\udcff.png"))
    errors = tmp_path / "errors.jsonl"
    assert read_all(cutouts, on_error="skip", errors_path=errors) == ["a", "b"]
    assert len(errors.read_text().splitlines()) == 2
