"""Batches decoded on a device agree with images decoded one by one; here the device is the CPU."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gzfound.data import decode_image, device_decode, square_resize
from gzfound.data.device_decode import decode_on, decodes_on
from gzfound.errors import ConfigError, ImageError

CPU = torch.device("cpu")
Galaxy = Callable[..., np.ndarray]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(pixels), "JPEG", exif=exif)


@pytest.fixture
def files(galaxy: Galaxy, jpeg: Callable[..., bytes]) -> dict[str, bytes]:
    """One file of each kind; the shapes differ."""
    colour = Image.fromarray(galaxy(5))
    return {
        "plain": jpeg(0),
        "oblong": jpeg(1, 50, 70),
        "the same shape": jpeg(2),
        "grey": encoded(Image.fromarray(galaxy(3)).convert("L"), "JPEG"),
        "progressive": encoded(Image.fromarray(galaxy(4)), "JPEG", progressive=True),
        "PNG": encoded(colour, "PNG"),
        "CMYK": encoded(colour.convert("CMYK"), "JPEG"),
        "RGB as such": encoded(colour, "JPEG", keep_rgb=True),
        "turned": turned(galaxy(6, 40, 64), 6),
        "upright": turned(galaxy(7), 1),
        "the smallest": jpeg(8, 24, 24),
    }


@pytest.mark.parametrize(("size", "crop"), [(24, 1.0), (33, 0.7), (60, 1.0), (80, 0.5)])
def test_squares_agree_with_the_plain_way(files: dict[str, bytes], size: int, crop: float) -> None:
    found = decode_on(CPU, list(files.values()), list(files), size, crop)
    assert found.places == list(range(len(files)))
    assert not found.errors
    assert found.images.shape == (len(files), size, size, 3)
    assert found.images.is_contiguous()
    for name, image in zip(files, found.images.numpy(), strict=True):
        expected = square_resize(decode_image(files[name], name), size, crop)
        assert np.abs(image.astype(int) - expected).max() <= 1, name


def test_only_plain_jpegs_go_to_the_device(files: dict[str, bytes]) -> None:
    plain = {name for name, data in files.items() if device_decode._is_plain_jpeg(data)}
    assert set(files) - plain == {"PNG", "CMYK", "RGB as such", "turned"}


def test_broken_files_end_in_their_own_line(jpeg: Callable[..., bytes]) -> None:
    whole = jpeg(0)
    files = [whole, b"", whole[: len(whole) // 2], b"<html>", jpeg(1)]
    found = decode_on(CPU, files, [f"g{n}" for n in range(5)], 16)
    assert found.places == [0, 4]
    assert sorted(found.errors) == [1, 2, 3]
    for place, error in found.errors.items():
        with pytest.raises(ImageError) as plain:
            decode_image(files[place], f"g{place}")
        assert str(error) == str(plain.value)


def test_what_the_device_refuses_is_decoded_on_the_cpu(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """nvJPEG gives nothing of a batch in which one file fails; only that one goes to the CPU."""
    import torchvision.io

    decode, sizes = torchvision.io.decode_jpeg, []
    refused = len(files["the same shape"])

    def picky(data: list[torch.Tensor], **options: Any) -> list[torch.Tensor]:
        sizes.append(len(data))
        if any(len(file) == refused for file in data):
            raise RuntimeError("Failed to decode batch: 4")
        return decode(data, **options)

    monkeypatch.setattr(torchvision.io, "decode_jpeg", picky)
    found = decode_on(CPU, list(files.values()), list(files), 24)
    assert found.places == list(range(len(files)))
    assert sizes.count(1) >= 1
    assert len(sizes) <= 7
    expected = square_resize(decode_image(files["the same shape"], "x"), 24)
    assert np.abs(found.images[2].numpy().astype(int) - expected).max() <= 1


def test_without_a_decoder_everything_takes_the_cpu(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any) -> list[torch.Tensor]:
        raise AssertionError("asked all the same")

    monkeypatch.setattr(device_decode, "decodes_on", lambda device: False)
    monkeypatch.setattr("torchvision.io.decode_jpeg", nothing)
    assert len(decode_on(CPU, list(files.values()), list(files), 24).places) == len(files)


def test_a_full_device_is_not_taken_for_a_broken_file(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("torchvision.io.decode_jpeg", full)
    with pytest.raises(torch.OutOfMemoryError):
        decode_on(CPU, [files["plain"]], ["plain"], 24)


def test_large_images_are_resized_in_parts(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode_on(CPU, list(files.values()), list(files), 24).images
    monkeypatch.setattr(device_decode, "_RESIZED_AT_ONCE", 1)
    parts = decode_on(CPU, list(files.values()), list(files), 24).images
    assert torch.equal(whole, parts)


def test_threads_do_not_change_the_pixels(files: dict[str, bytes]) -> None:
    def work(_: int) -> torch.Tensor:
        torch.set_num_threads(1)
        return decode_on(CPU, list(files.values()), list(files), 24).images

    before = torch.get_num_threads()
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(work, range(6))
    torch.set_num_threads(before)
    assert all(torch.equal(first, other) for other in others)


def test_nothing_and_mistakes() -> None:
    assert decode_on(CPU, [], [], 24).images.shape == (0, 24, 24, 3)
    assert decodes_on(CPU)
    with pytest.raises(ConfigError, match="size 0"):
        decode_on(CPU, [], [], 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_agrees_with_the_cpu(files: dict[str, bytes]) -> None:
    """nvJPEG does not smooth subsampled colours, so single pixels may differ; the mean hardly."""
    found = decode_on(torch.device("cuda"), list(files.values()), list(files), 24)
    plain = decode_on(CPU, list(files.values()), list(files), 24)
    difference = found.images.cpu().int() - plain.images.int()
    assert difference.abs().float().mean() < 1.5
