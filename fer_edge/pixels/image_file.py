"""Image files as phones, cameras and programs write them: opened, checked and turned upright."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES: Final = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""Endings of files taken for images, lower case; of an animation the first frame counts."""

MOST_PIXELS: Final = 256_000_000
"""More than any phone takes (200 million). Decoded, each takes 3 bytes."""

_PILLOWS_LIMIT = 1024 * 1024 * 1024 // 4 // 3
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_ORIENTATION = 0x0112
_ACCEPTED = "Give a JPEG, PNG, BMP or WebP file of 8 bits a channel."
_OPENING = threading.Lock()


class ImageFileError(ValueError):
    """Why an image cannot be read, without its name, and what to do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class ImageSizeError(ImageFileError):
    """An image of more pixels than are to be decoded."""


@contextlib.contextmanager
def opened(stream: BinaryIO, most_pixels: int | None = None) -> Iterator["PIL.Image.Image"]:
    """Open an image and decode it within the block, turned upright as its EXIF says.

    A damaged EXIF block tells nothing, and costs nothing: the image is taken as it lies.

    Parameters
    ----------
    stream : binary file object
        Stays open.
    most_pixels : int, optional
        Larger images are not decoded. By default ``MOST_PIXELS``, or
        ``PIL.Image.MAX_IMAGE_PIXELS`` where a program has set that.

    Raises
    ------
    ImageSizeError
        Larger than that.
    ImageFileError
        Not an image that Pillow can read, cut short, or of more than 8 bits a channel; also for
        what decoding raises within the block.
    """
    try:
        if not stream.seekable():
            stream = io.BytesIO(stream.read())
        image, limit = _open(stream, most_pixels)
        pixels = image.width * image.height
        if limit is not None and pixels > limit:
            raise _too_large(f" of {pixels} pixels", limit)
        if image.mode[0] in "IF":  # Pillow would clip the values at 255
            raise ImageFileError("it has more than 8 bits a channel", "Convert it to 8 bits.")
        # Under the same name: the pixels as they lay take as much memory again.
        image = _upright(image)
        yield image
    except (ImageFileError, KeyboardInterrupt, GeneratorExit, SystemExit):
        raise
    except MemoryError as error:
        raise ImageFileError("there is not enough memory for it", "Scale it down.") from error
    # Pillow's decoders raise whatever they meet in a damaged file.
    except Exception as error:
        raise _explained(stream, error) from error


def _open(stream: BinaryIO, most_pixels: int | None) -> "tuple[PIL.Image.Image, int | None]":
    """The image, and the most pixels that it may have."""
    from PIL import Image

    stream.seek(0)
    if _is_heif(stream.read(12)):
        _register_heif()
    stream.seek(0)
    # Filters of warnings and Pillow's limit are the process's: two threads would leave each other's
    # behind, or read a limit that the other has lifted.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pillows = Image.MAX_IMAGE_PIXELS
        limit = most_pixels
        if limit is None:
            limit = MOST_PIXELS if pillows == _PILLOWS_LIMIT else pillows
        try:
            # Lifted for all threads: only where it is below what is wanted, as Pillow's own is
            # below what phones take.
            if limit is not None and pillows is not None and limit > pillows:
                Image.MAX_IMAGE_PIXELS = None
            return Image.open(stream), limit
        except Image.DecompressionBombError as error:
            raise _too_large("", limit) from error
        finally:
            if Image.MAX_IMAGE_PIXELS is None:
                Image.MAX_IMAGE_PIXELS = pillows


def _too_large(size: str, limit: int | None) -> ImageSizeError:
    return ImageSizeError(f"its size{size} exceeds limit of {limit} pixels", "Scale it down.")


def _upright(image: "PIL.Image.Image") -> "PIL.Image.Image":
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            turn = turns.get(image.getexif().get(_ORIENTATION, 1))
        except Exception:  # whatever Pillow meets in a damaged block
            turn = None
    return image if turn is None else image.transpose(turn)


def _explained(stream: BinaryIO, error: Exception) -> ImageFileError:
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        return ImageFileError(str(error).rstrip(".") or type(error).__name__, _ACCEPTED)
    with contextlib.suppress(OSError, ValueError):
        stream.seek(0)
        head = stream.read(12)
        if _is_heif(head) and not _register_heif():
            return ImageFileError(
                "HEIF needs pillow-heif", "Run: pip install 'fer-edge[heif]', or save it as JPEG."
            )
    return ImageFileError("unknown format", _ACCEPTED)


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


@cache
def _register_heif() -> bool:
    """Tell Pillow of pillow-heif; False where it is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def opened_bytes(
    data: bytes, most_pixels: int | None = None
) -> "contextlib.AbstractContextManager[PIL.Image.Image]":
    """:func:`opened` of a file in memory."""
    return opened(io.BytesIO(data), most_pixels)
