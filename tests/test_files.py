import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge import files
from fer_edge.errors import StorageError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def no_space():
    return OSError(errno.ENOSPC, "No space left on device")


def interrupted(context, error):
    """Write a first half through ``context``, then stop."""
    with context as temporary:
        target = temporary / "half" if temporary.is_dir() else temporary
        target.write_bytes(b"half")
        raise error


def test_sha256_reads_past_one_chunk(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert len(data) > files.CHUNK
    assert files.sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_write_creates_folders_and_keeps_the_umask(tmp_path):
    path = tmp_path / "a" / "b.json"
    files.write_text(path, "größer")
    plain = tmp_path / "plain"
    plain.touch()
    assert path.read_bytes() == "größer".encode()
    assert path.stat().st_mode == plain.stat().st_mode
    assert names(path.parent) == ["b.json"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
def test_links_permissions_and_what_is_no_file_stay(tmp_path):
    (tmp_path / "there").mkdir()
    old = tmp_path / "there" / "old"
    old.write_bytes(b"old")
    old.chmod(0o640)
    (tmp_path / "link").symlink_to(old)
    (tmp_path / "dangling").symlink_to("there/new")
    for name in ("link", "dangling"):
        files.write_bytes(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink()
    assert old.read_bytes() == (tmp_path / "there" / "new").read_bytes() == b"new"
    assert old.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path / "there") == ["new", "old"]

    os.mkfifo(tmp_path / "pipe")
    reading = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    files.write_bytes(tmp_path / "pipe", b"through")
    assert reading.communicate(timeout=30)[0] == b"through"
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(os.name != "posix", reason="names of 255 bytes")
def test_names_as_long_as_they_may_be(tmp_path):
    path = tmp_path / ("n" * 251 + ".bin")
    files.write_bytes(path, b"x")
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_failed_file_leaves_the_old_one_and_nothing_else(tmp_path, stop):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with pytest.raises(stop):
        interrupted(files.atomic_path(path), stop)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights.bin"]


def test_the_temporary_file_keeps_the_suffix(tmp_path):
    with files.atomic_path(tmp_path / "curve.png") as temporary:
        assert temporary.suffix == ".png"


def test_no_space_is_a_storage_error_that_names_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(StorageError, match=r"model\.onnx: No space left.*Free some space"):
        interrupted(files.atomic_path(path), no_space())
    assert names(tmp_path) == []


def test_a_full_device_is_a_storage_error():
    with (
        pytest.raises(StorageError, match="Free some space"),
        files.storage_errors(files.Path("/dev/full")),
    ):
        files.Path("/dev/full").write_bytes(b"x")


def test_a_folder_that_is_a_file_is_a_storage_error_without_temporary_names(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        files.write_text(tmp_path / "file" / "x.json", "")
    assert ".tmp" not in str(caught.value)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "artifact"
    path.mkdir()
    (path / "old").touch()
    with files.atomic_folder(path) as temporary:
        (temporary / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["artifact"]


@pytest.mark.parametrize("stop", [no_space(), KeyboardInterrupt()])
def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path, stop):
    path = tmp_path / "artifact"
    path.mkdir()
    (path / "old").touch()
    expected = StorageError if isinstance(stop, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        interrupted(files.atomic_folder(path), stop)
    assert names(path) == ["old"]
    assert names(tmp_path) == ["artifact"]


def test_a_folder_whose_replacement_fails_midway_is_put_back(tmp_path, monkeypatch):
    path = tmp_path / "artifact"
    path.mkdir()
    (path / "old").touch()
    replace = files.Path.replace

    def stop_at_the_second(source, target):
        if source.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(files.Path, "replace", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["artifact"]


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.delenv("FER_EDGE_CACHE")
    assert files.cache_folder().name == "fer-edge"


def test_the_cache_folder_of_a_user_without_a_home(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_EDGE_CACHE", "~/cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert files.cache_folder() == tmp_path / "cache"

    def homeless(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    folder = files.cache_folder()
    assert folder.is_dir()
    assert files.cache_folder() == folder


def test_what_an_interrupt_leaves_is_gone_when_python_exits(tmp_path):
    # As when Ctrl-C comes between two instructions of the context manager.
    script = (
        "import pathlib, sys; from fer_edge import files; path = pathlib.Path(sys.argv[1])\n"
        "files._beside(path, 'tmp').touch(); files._beside(path, 'tmp').mkdir()\n"
        "assert len(list(path.parent.iterdir())) == 2"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "model.onnx")], check=True)
    assert names(tmp_path) == []
