import io
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from fer_edge.pixels import image_file
from fer_edge.pixels.image_file import ImageFileError, ImageSizeError, opened, opened_bytes

PICTURE = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


def encode(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, kind, **options)
    return stream.getvalue()


def size_of(data: bytes) -> tuple[int, int]:
    with opened_bytes(data) as image:
        return image.convert("RGB").size


@pytest.mark.parametrize("turn", range(1, 9))
def test_all_eight_orientations_stand_upright(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    stream = io.BytesIO(encode("PNG", exif=exif))
    with opened(stream) as image:
        upright = np.asarray(image)
    assert not stream.closed
    expected = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.swapaxes(0, 1),
        6: np.rot90(PICTURE, -1),
        7: np.rot90(PICTURE, 2).swapaxes(0, 1),
        8: np.rot90(PICTURE),
    }[turn]
    np.testing.assert_array_equal(upright, expected)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\xff\xff\0\0\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x05\0\0\0\x01\0\0\0\x1a",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\xff\xff\0\0",
        b"Exif\0\0" + bytes(range(256)),
    ],
    ids=["empty", "header", "offset", "cut", "text", "fraction", "number", "noise"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_costs_nothing(block: bytes, kind: str) -> None:
    data = encode(kind, exif=block)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert size_of(data) == (30, 20)


def test_a_photo_of_108_megapixels_is_read() -> None:
    with opened_bytes(large(12_000, 9_000)) as image:
        assert image.size == (12_000, 9_000)


def large(width: int, height: int) -> bytes:
    """A black bitmap; only its header is as large as it says, as decoding would take a second."""
    stream = io.BytesIO()
    Image.new("1", (8, 8)).save(stream, "BMP")
    data = bytearray(stream.getvalue())
    data[18:22], data[22:26] = width.to_bytes(4, "little"), height.to_bytes(4, "little")
    return bytes(data)


def test_what_is_larger_than_any_photo_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageFileError, match="400000000 pixels exceeds limit of 256000000"):
        size_of(large(20_000, 20_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageFileError, match="600 pixels exceeds limit of 500 pixels"):
        size_of(encode("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with opened_bytes(large(20_000, 20_000)) as image:
        assert image.size == (20_000, 20_000)


def test_a_limit_that_a_program_has_set_holds_for_all_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    during: list[int | None] = []
    pillows = Image.open

    def watched(stream: io.BytesIO) -> Image.Image:
        during.append(Image.MAX_IMAGE_PIXELS)
        return pillows(stream)

    monkeypatch.setattr(Image, "open", watched)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    for data in (encode("PNG"), large(40, 26)):  # above it, and above where Pillow refuses
        with pytest.raises(ImageSizeError, match="exceeds limit of 500 pixels"):
            size_of(data)
    assert (during, Image.MAX_IMAGE_PIXELS) == ([500, 500], 500)


def test_a_limit_that_another_thread_has_lifted_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opening:
        """The other thread takes its turn as soon as this one has had its own."""

        def __enter__(self) -> None: ...

        def __exit__(self, *exc: object) -> None:
            Image.MAX_IMAGE_PIXELS = None

    monkeypatch.setattr(image_file, "_OPENING", Opening())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageSizeError, match="600 pixels exceeds limit of 500"):
        size_of(encode("PNG"))


def test_a_limit_for_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_bytes(large(40, 25), 1000) as image:
        assert image.size == (40, 25)
    # Before it is decoded, and whatever the process has set.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with (
        pytest.raises(ImageSizeError, match="1025 pixels exceeds limit of 1000"),
        opened_bytes(large(41, 25), 1000),
    ):
        raise AssertionError("opened")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with opened_bytes(large(40, 25), 1000) as image:
        assert image.size == (40, 25)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_formats_that_are_read(kind: str) -> None:
    assert size_of(encode(kind)) == (30, 20)


def test_what_decoding_raises_is_explained() -> None:
    data = encode("PNG")
    with pytest.raises(ImageFileError, match="truncated"):
        size_of(data[: len(data) // 2])


def test_what_the_caller_raises_as_control_flow_passes() -> None:
    with pytest.raises(KeyboardInterrupt), opened(io.BytesIO(encode("PNG"))):
        raise KeyboardInterrupt


def test_a_heif_photo_is_read_with_pillow_heif() -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(PICTURE).resize((64, 64))).save(stream)
    assert size_of(stream.getvalue()) == (64, 64)


def test_without_pillow_heif_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    # Pillow keeps what another test has told it of.
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name not in ("HEIF", "AVIF")])
    image_file._register_heif.cache_clear()
    for brand in (b"heic", b"mif1"):
        with pytest.raises(ImageFileError, match="HEIF needs pillow-heif") as caught:
            size_of(b"\0\0\0\x18ftyp" + brand + bytes(64))
        assert "pip install 'fer-edge[heif]'" in caught.value.hint
    image_file._register_heif.cache_clear()
