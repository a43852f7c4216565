import io
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import LivePageError, MissingDependencyError, UsageError
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.live import LivePage, stream
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.palette import color_of
from tests.runtime.capture.fakes import FakeDevice, image, wait_until

from .viewers import Viewer, moment, unreading_viewer

exceptions = pytest.importorskip("websockets.exceptions", reason="needs the extra web")

THEIRS = ("anger", "happy", "awe")
"""Labels of somebody else: one spelled otherwise, one unknown."""


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames that were encoded."""
    indices: list[int] = []
    encode = stream.encode_moment

    def count(shown: Moment, facts: dict[str, object]) -> bytes:
        indices.append(shown.frame.index)
        return encode(shown, facts)

    monkeypatch.setattr(stream, "encode_moment", count)
    return indices


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("notice", [None, "Faces are <read> here."])
def test_the_people_in_the_picture_are_told_where_that_is_switched_on(notice: str | None) -> None:
    with LivePage(port=0, notice=notice) as page, urllib.request.urlopen(page.start()) as answer:
        html = answer.read().decode()
    assert ("Faces are &lt;read&gt; here." in html) == (notice is not None)
    assert ('id="notice"' in html) == (notice is not None)


def test_a_viewer_sees_the_picture_and_the_numbers(page: LivePage) -> None:
    with Viewer(page.start()) as viewer:
        page.show(moment(4, emotions=("happy", "sad")))
        facts, jpeg = viewer.moment()
    assert (facts["source"], facts["frame"], facts["width"], facts["height"]) == (
        "door",
        4,
        160,
        120,
    )
    assert facts["age_ms"] == pytest.approx(25, abs=1)
    assert [face["emotion"] for face in facts["faces"]] == ["happy", "sad"]
    assert facts["faces"][1]["box"] == [80, 30, 40, 50]
    assert Image.open(io.BytesIO(jpeg)).size == (160, 120)


def test_labels_of_somebody_else_come_with_their_colours(page: LivePage) -> None:
    with Viewer(page.start()) as viewer:
        page.show(moment(0, "ours"))
        page.show(moment(1, "theirs", emotions=("anger", "awe"), classes=THEIRS))
        told = {facts["source"]: facts for facts, _ in (viewer.moment(), viewer.moment())}
        assert told["ours"]["tones"] == {}
        assert told["theirs"]["tones"] == {"anger": "var(--angry)", "awe": color_of("awe")}
        assert list(told["theirs"]["faces"][0]["probabilities"]) == list(THEIRS)
    with Viewer(page.start(), see=["theirs"]) as viewer:
        first = viewer.next()
    assert isinstance(first, dict)
    assert first["emotions"] == {"theirs": list(THEIRS)}
    assert first["tones"] == told["theirs"]["tones"]
    ((_, shares),) = first["past"]["theirs"]
    assert [len(row) for row in shares.values()] == [3, 3]


def test_rate_and_drops_are_told(page: LivePage) -> None:
    shown = [moment(index) for index in (0, 1, 4, 5)]
    for i, one in enumerate(shown):
        object.__setattr__(one, "finished", shown[0].finished + 0.1 * i)
        page.show(one)
    with Viewer(page.start()) as viewer:
        facts, _ = viewer.moment()
    assert (facts["fps"], facts["dropped"]) == (10, 2)


def test_several_viewers_cost_one_encode_and_none_costs_none(
    page: LivePage, encoded: list[int]
) -> None:
    for index in range(5):
        page.show(moment(index))
    assert encoded == []
    viewers = [Viewer(page.start()) for _ in range(5)]
    with ThreadPoolExecutor(5) as threads:
        for index in range(4, 10):
            page.show(moment(index))
            seen = list(threads.map(lambda viewer: viewer.moment()[0]["frame"], viewers))
            assert seen == [index] * 5
    assert encoded == [4, 5, 6, 7, 8, 9]
    for viewer in viewers:
        viewer.close()
    wait_until(lambda: not page._broadcast._viewers)
    page.show(moment(10))
    assert encoded[-1] == 9


def test_a_viewer_that_does_not_read_holds_up_nobody(page: LivePage, encoded: list[int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    with unreading_viewer(page.start()), Viewer(page.start()) as viewer:
        wait_until(lambda: len(page._broadcast._viewers) == 2)
        for index in range(60):
            started = time.perf_counter()
            page.show(moment(index, image=noise))
            assert time.perf_counter() - started < 0.5
            assert viewer.moment()[0]["frame"] == index
        assert encoded == list(range(60))
        unanswered = {viewer._unanswered for viewer in page._broadcast._viewers}
        assert max(unanswered) == 2, "what is on its way to the stuck one"


def test_a_viewer_that_is_slow_skips_to_the_newest(page: LivePage) -> None:
    with Viewer(page.start()) as viewer:
        page.show(moment(0))
        assert viewer.moment()[0]["frame"] == 0
        page.show(moment(1))
        message = viewer.socket.recv(timeout=10)
        while isinstance(message, str):  # the state of the sources
            viewer.socket.send("next")
            message = viewer.socket.recv(timeout=10)
        page.show(moment(2))
        viewer.socket.recv(timeout=10)  # now two are not answered
        for index in range(3, 30):
            page.show(moment(index))
            time.sleep(0.005)
        with pytest.raises(TimeoutError):
            viewer.socket.recv(timeout=0.1)
        viewer.socket.send("next")
        assert viewer.moment()[0]["frame"] == 29


def test_sources_take_turns_and_can_be_chosen(page: LivePage, encoded: list[int]) -> None:
    with Viewer(page.start()) as both, Viewer(page.start(), ["hall"]) as one:
        for index in range(3):
            page.show(moment(index, "door"))
            page.show(moment(index, "hall"))
            seen = {both.moment()[0]["source"] for _ in range(2)}
            assert seen == {"door", "hall"}
            facts, _ = one.moment()
            assert (facts["source"], facts["frame"]) == ("hall", index)
    assert len(encoded) == 6


def test_the_last_minute_is_there_for_who_comes_late(page: LivePage) -> None:
    start = time.monotonic()
    for i in range(-69, 1):
        one = moment(i + 69, emotions=("sad", "fear"))
        object.__setattr__(one, "finished", start + i)
        page.show(one)
    with Viewer(page.start()) as viewer:
        (past,) = viewer.told("past").values()
    assert [time for time, _ in past] == [start + i for i in range(-60, 1)]
    _, faces = past[-1]
    assert faces["0"][4] == faces["1"][2] == 0.79


def test_the_state_of_a_source_is_told() -> None:
    device = FakeDevice()
    with (
        Camera(device.source(), name="door") as camera,
        LivePage(port=0, cameras=[camera]) as page,
        Viewer(page.start()) as viewer,
    ):
        device.send(image(0))
        assert viewer.told("sources") == [{"source": "door", "state": "running", "error": None}]
        device.present = False
        wait_until(lambda: camera.state.value == "lost")
        wait_until(lambda: viewer.told("sources")[0]["state"] == "lost")
        assert viewer.told("sources")[0]["error"] == str(camera.error)


def test_silence_is_told_where_the_camera_is_not_known(
    page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.show(moment())
    with Viewer(page.start()) as viewer:
        assert viewer.told("sources")[0]["state"] == "running"
        monkeypatch.setattr(stream, "STALLED_AFTER", 0.0)
        assert viewer.told("sources")[0]["state"] == "stalled"


def test_large_frames_are_made_smaller_and_gray_ones_stay_gray(page: LivePage) -> None:
    with Viewer(page.start()) as viewer:
        page.show(moment(0, image=np.zeros((1080, 1920), np.uint8)))
        facts, jpeg = viewer.moment()
    picture = Image.open(io.BytesIO(jpeg))
    assert (facts["width"], picture.size, picture.mode) == (1920, (960, 540), "L")


def test_colours_are_as_the_camera_saw_them(page: LivePage) -> None:
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 0] = 255
    with Viewer(page.start()) as viewer:
        page.show(moment(0, image=blue[:, ::-1]))
        _, jpeg = viewer.moment()
    red, _, found = Image.open(io.BytesIO(jpeg)).getpixel((5, 5))
    assert red < 5
    assert found > 250


def test_many_threads_show_at_once(page: LivePage) -> None:
    def show(source: int) -> None:
        for index in range(50):
            page.show(moment(index, str(source)))

    with Viewer(page.start()) as viewer:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(show, range(8)))
        newest: dict[str, int] = {}
        while len(newest) < 8 or set(newest.values()) != {49}:
            facts, _ = viewer.moment()
            assert facts["frame"] > newest.get(facts["source"], -1), "never back in time"
            newest[facts["source"]] = facts["frame"]


def test_here_no_token_is_asked_for_but_other_sites_are_refused(page: LivePage) -> None:
    url = page.start()
    assert status_of(url) == status_of(url, Host="localhost:9000") == 200
    assert status_of(url, Host="rebound.example") == status_of(url, Host="[") == 403
    Viewer(url, additional_headers={"Origin": url.rstrip("/")}).close()
    for origin in ("http://other.example", "http://127.0.0.1:1", "http://[x", "null"):
        with pytest.raises(exceptions.InvalidStatus, match="403"):
            Viewer(url, additional_headers={"Origin": origin})


@pytest.mark.parametrize("token", [None, "välkommen"])
def test_other_machines_need_the_token(token: str | None) -> None:
    with LivePage("0.0.0.0", 0, token) as page:
        url = page.start()
        local = f"http://127.0.0.1:{urlsplit(url).port}/"
        query = urlsplit(url).query
        assert len(query) > len("token=") + 8
        page.show(moment())
        assert status_of(local) == status_of(f"{local}?token=guess") == 403
        assert status_of(f"{local}?{query}", Host="fer.example") == 200
        with pytest.raises(exceptions.InvalidStatus, match="403"):
            Viewer(local)
        with Viewer(f"{local}?{query}") as viewer:
            assert viewer.moment()[0]["frame"] == 0


def test_only_what_the_page_is_made_of_is_served(page: LivePage) -> None:
    url = page.start()
    assert status_of(f"{url}page.js") == 200
    for path in ("index.html", "..%2fpage.py", "%2e%2e/page.py", "docs"):
        assert status_of(url + path) == 404


def test_nonsense_from_a_viewer_ends_only_that_viewer(page: LivePage) -> None:
    with Viewer(page.start()) as good:
        for nonsense in ("[", "[" * 9999, "{}", '{"see": 1}', '{"see": [[]]}', b"\x00"):
            bad = Viewer(page.start())
            bad.socket.send(nonsense)
            with pytest.raises(exceptions.ConnectionClosed, match="1008"):
                bad.moment()
        page.show(moment())
        assert good.moment()[0]["frame"] == 0


def test_a_port_that_is_taken_is_named(page: LivePage) -> None:
    port = urlsplit(page.start()).port
    with pytest.raises(LivePageError, match=f"Port {port} is taken"):
        LivePage(port=port or 0).start()


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("192.0.2.7", 0, "192.0.2.7"),
        ("no host", 0, "no host"),
        ("..", 0, "can have this name"),
        ("127.0.0.1", 70000, "70000"),
    ],
)
def test_an_address_that_cannot_be_is_named(host: str, port: int, said: str) -> None:
    with pytest.raises((LivePageError, UsageError), match=said):
        LivePage(host, port).start()


def test_ipv6_has_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("needs IPv6")
    with LivePage("::1", 0) as page:
        assert page.start().startswith("http://[::1]:")
        assert status_of(page.start()) == 200


def test_closing_lets_viewers_go_and_leaves_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    page = LivePage(port=0)
    page.close()
    url = page.start()
    assert page.start() == url
    viewer, stuck = Viewer(url), unreading_viewer(url)
    wait_until(lambda: len(page._broadcast._viewers) == 2)
    page.show(moment())
    viewer.moment()
    page.close()
    page.close()
    page.show(moment(1))
    with pytest.raises(exceptions.ConnectionClosed, match="1001"):
        viewer.moment()
    stuck.close()
    viewer.close()
    wait_until(lambda: threading.active_count() == before)
    again = page.start()
    with Viewer(again) as viewer:
        assert viewer.moment()[0]["frame"] == 1
    page.close()
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[web\]'"):
        LivePage(port=0).start()


def test_importing_loads_no_server() -> None:
    program = "import sys, fer_edge.runtime.live; sys.exit('starlette' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_cameras_must_have_different_names() -> None:
    with (
        Camera([image(0)], name="door") as one,
        Camera([image(0)], name="door") as other,
        pytest.raises(UsageError, match="Two cameras are named door"),
    ):
        LivePage(cameras=[one, other])
