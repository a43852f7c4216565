import io
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import InputError, StorageError, UsageError
from fer_edge.runtime import read_image, to_faces

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(5, 48, 48), (5, 1, 48, 48), (0, 48, 48), (3, 48, 48)])
def test_a_batch_of_crops_is_used_as_it_is(shape):
    crops = noise(*shape)
    np.testing.assert_array_equal(to_faces(crops), crops.reshape(-1, 48, 48))


def test_a_gray_crop_is_used_as_it_is():
    crop = noise(48, 48)
    np.testing.assert_array_equal(to_faces(crop)[0], crop)
    np.testing.assert_array_equal(to_faces([crop, crop])[1], crop)


@pytest.mark.parametrize(
    ("pixel", "gray"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)]
)
def test_colours_have_their_bt601_weights_in_either_order(pixel, gray):
    image = np.full((48, 48, 3), pixel, np.uint8)
    assert set(np.unique(to_faces(image))) == {gray}
    assert set(np.unique(to_faces(image[..., ::-1], color="bgr"))) == {gray}
    assert set(np.unique(to_faces(image, color="bgr"))) != {gray} or gray == 150


@pytest.mark.parametrize("shape", [(1, 1), (7, 500), (640, 480), (49, 47, 3), (48, 3), (300, 3, 3)])
def test_any_size_becomes_a_face_of_the_same_brightness(shape):
    faces = to_faces(np.full(shape, 200, np.uint8))
    assert faces.shape == (1, 48, 48)
    assert faces.dtype == np.uint8
    assert set(np.unique(faces)) == {200}


def test_shrinking_does_not_alias():
    stripes = np.zeros((480, 480), np.uint8)
    stripes[:, ::2] = 255
    np.testing.assert_allclose(to_faces(stripes)[0], 127.5, atol=4)


def test_shrinking_keeps_places():
    image = np.zeros((96, 144, 3), np.uint8)
    image[:48, 72:] = 255
    face = to_faces(image)[0]
    assert face[:22, 26:].min() == 255
    assert face[26:].max() == face[:, :22].max() == 0


def test_a_list_may_mix_sizes_and_colours():
    images = [noise(48, 48), noise(31, 77, 3), noise(200, 100), noise(48, 48, 3)[:, ::-1]]
    faces = to_faces(images)
    assert faces.shape == (4, 48, 48)
    for face, image in zip(faces, images, strict=True):
        np.testing.assert_array_equal(face, to_faces(image)[0])


def test_an_empty_list_is_no_faces():
    assert to_faces([]).shape == (0, 48, 48)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (noise(9, 9).astype(np.float32), "Image 1 must be uint8, got float32"),
        (noise(9, 9, 4), "Image 1 has four channels"),
        (noise(9, 9, 1), r"Image 1 must have shape \(H, W\)"),
        (noise(0, 9), "Image 1 must have shape"),
        (noise(9), "Image 1 must have shape"),
        (noise(2, 9, 9, 3), "Image 1 has shape .* several images"),
        ("photo.jpg", "Image 1 must be a numpy array, got str"),
    ],
)
def test_a_bad_image_is_named_by_its_index(bad, says):
    with pytest.raises(InputError, match=says):
        to_faces([noise(9, 9), bad])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (noise(2, 9, 9), "list"),
        (noise(2, 9, 9, 3), "list"),
        (np.zeros((2, 48, 48)), "The batch of faces must be uint8, got float64"),
        (None, "got NoneType"),
    ],
)
def test_what_is_neither_faces_nor_an_image_is_refused(bad, says):
    with pytest.raises(InputError, match=says):
        to_faces(bad)


def test_an_unknown_colour_order_is_a_usage_error():
    with pytest.raises(UsageError, match="'hsv'"):
        to_faces(noise(9, 9, 3), color="hsv")


def test_read_image_gives_upright_rgb(tmp_path):
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6  # shot with the camera turned by 90 degrees
    image.save(tmp_path / "photo.png", exif=exif)
    array = read_image(tmp_path / "photo.png")
    assert array.shape == (40, 20, 3)
    assert tuple(array[0, 0]) == (255, 0, 0)


def test_read_image_refuses_what_is_not_an_image(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    with pytest.raises(StorageError, match=r"photo\.png"):
        read_image(path)
    for content in (b"", b"not an image"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"photo\.png cannot be read as an image: unknown"):
            read_image(path)
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"photo\.png cannot be read"):
        read_image(path)
    Image.fromarray(noise(64, 64).astype(np.uint16)).save(path)
    with pytest.raises(InputError, match=r"photo\.png cannot be read.* 8 bits a channel"):
        read_image(path)
    Image.new("L", (64, 64)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"photo\.png cannot be read"):
        read_image(path)


def test_read_image_takes_names_and_open_files(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(noise(9, 7, 3)).save(path)
    expected = read_image(path)
    np.testing.assert_array_equal(read_image(str(path)), expected)
    with path.open("rb") as stream:
        np.testing.assert_array_equal(read_image(stream), expected)
        assert not stream.closed
    with pytest.raises(InputError, match="The image cannot be read as an image: unknown format"):
        read_image(io.BytesIO(b"not an image"))


def test_reading_images_in_threads_leaves_the_filters_of_warnings_alone(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.fromarray(noise(9, 7, 3)).save(path)
    opened = Image.open
    second_is_here, first_is_done = threading.Event(), threading.Event()
    turns = iter([second_is_here, first_is_done])

    def open_in_turn(stream):
        wanted = next(turns)
        if wanted is first_is_done:
            second_is_here.set()
        wanted.wait(0.2)
        return opened(stream)

    def read(_):
        read_image(path)
        first_is_done.set()

    monkeypatch.setattr(Image, "open", open_in_turn)
    before = list(warnings.filters)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, range(2)))
    assert warnings.filters == before
