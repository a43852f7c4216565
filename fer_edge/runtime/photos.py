"""Photos from files, one after another."""

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from fer_edge.errors import InputError, StorageError
from fer_edge.runtime.preprocess import UInt8Array, read_image


def read_photos(
    paths: Sequence[Path],
) -> Generator[tuple[Path, UInt8Array | InputError | StorageError], None, None]:
    """Read images in order, each while the one before is worked on: two at most are in memory.

    Yields
    ------
    path, image
        As :func:`fer_edge.runtime.read_image` gives it, or the error that it raises.
    """
    with ThreadPoolExecutor(1, "fer-edge reading") as pool:
        ahead: Future[UInt8Array | InputError | StorageError] | None = None
        for path, following in zip(paths, [*paths[1:], None], strict=True):
            found = ahead or pool.submit(_read, path)
            ahead = None
            image = found.result()
            del found  # which holds the image, too
            if following is not None:
                ahead = pool.submit(_read, following)
            yield path, image
            del image


def _read(path: Path) -> UInt8Array | InputError | StorageError:
    try:
        return read_image(path)
    except (InputError, StorageError) as error:
        return error
