import traceback

import pytest

from fer_edge.errors import UsageError
from fer_edge.runtime.capture.address import split_address, without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:pa/ss@host/s", "rtsp://user@host/s"),
        ("rtsp://user:pa#ss@10.0.0.7:554/s?a=b", "rtsp://user@10.0.0.7:554/s?a=b"),
        ("rtsp://user:pa?ss@host", "rtsp://user@host"),
        ("rtsp://user:pa[ss@host/s", "rtsp://user@host/s"),
        ("rtsp://user:p@ss/w@rd@[::1]:554/s", "rtsp://user@[::1]:554/s"),
        ("rtsp://user:55/4@host/s", "rtsp://user@host/s"),
        ("rtsp://first.last:pa/ss@host/s", "rtsp://first.last@host/s"),
        ("rtsp://user:a&key=b/c@host/s", "rtsp://user@host/s"),
        ("rtsp://:pa/ss@host/s", "rtsp://@host/s"),
        ("user:pa/ss@host/s", "user@host/s"),
        ("mqtt:/user:pass@host/s", "mqtt@host/s"),
        ("http://host/a?loginuse=me&loginpas=se@cret", "http://host/a?loginuse=me&loginpas=***"),
        ("http://cam:80/a?password=x@y&id=1", "http://cam@&id=1"),
        ("http://10.0.0.7:80/a?auth=YWRt&id=1", "http://10.0.0.7:80/a?auth=***&id=1"),
    ],
)
def test_passwords_with_any_characters_are_not_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        *("rtsp://host/a@b", "rtsp://host/a:b@c", "http://host/a?to=me@x.org", "rtsp://me@host/s"),
        *("rtsp://10.0.0.7:554/a@b", "http://cam.local:80/a?to=me@x.org", "rtsp://[::1]:554/a@b"),
        *("http://localhost:8080/a@b", "udp://@239.0.0.1:1234", "udp://@:1234", "mqtt://[::1/t"),
    ],
)
def test_addresses_without_a_password_stay(address: str) -> None:
    assert without_password(address) == address


@pytest.mark.parametrize("password", ["se[cret", "[se]cret", "se/cret", "se#cret", "se?cret"])
def test_an_address_that_cannot_be_read_is_told_without_its_password(password: str) -> None:
    with pytest.raises(UsageError, match="%5B for ") as error:
        split_address(f"rtsp://user:{password}@10.0.0.7/s")
    assert error.value.message == "rtsp://user@10.0.0.7/s is no address."
    assert "cret" not in "".join(traceback.format_exception(error.value))
