"""fer-edge camera"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import Following, ModelOption, Recognizing
from fer_edge.cli.console import complain, stderr
from fer_edge.cli.groups import grouped
from fer_edge.errors import BrokenOffError, FerEdgeError, OutputError, UsageError

if TYPE_CHECKING:
    from fer_edge.runtime import Camera, Moment
    from fer_edge.runtime.live import LivePage
    from fer_edge.runtime.sinks import Sink, Window

_OUTPUT = "Output (default: a window)"
_LOOK_EVERY = 0.1
"""Seconds between two looks at whether it ends, and at the state of the cameras."""


@grouped
def camera(
    *,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Camera's number, recording, folder of images, rtsp:// or http:// address, "
            "GStreamer pipeline, csi://0 on Jetson; one or more."
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(help="Ask cameras for this size, as 1280x720.", rich_help_panel="Sources"),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Ask cameras for this rate; of a recording or a folder, the rate of its images, "
            "whatever times it has.",
            rich_help_panel="Sources",
        ),
    ] = None,
    wait_for: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Wait for cameras and streams that are not there yet.",
            rich_help_panel="Sources",
        ),
    ] = False,
    headless: Annotated[
        bool,
        typer.Option("--headless", help="Print a line of JSON per frame.", rich_help_panel=_OUTPUT),
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Write a video with boxes and bars (.mp4, .mkv, .mov). Several sources have a "
            "file each: OUT-1.mp4, OUT-2.mp4.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    web: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Serve a live page on this port.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address that the page is served on; 0.0.0.0 lets other machines in. "
            "(default: 127.0.0.1)",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="What viewers of the page must know. (default: a random one if other machines "
            "are let in)",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    notice: Annotated[
        bool,
        typer.Option(
            "--notice",
            help="Tell the people in the picture, on the page, that a program reads expressions "
            "from it.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    mqtt: Annotated[
        str | None,
        typer.Option(
            help="Publish the lines of JSON to a broker: mqtt://HOST/TOPIC.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    window: Annotated[
        bool,
        typer.Option(
            "--window", help="Show the window beside other output.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    following: Following,
    model: ModelOption = None,
    recognizing: Recognizing,
) -> None:
    """Follow the faces that cameras see, and name their expressions.

    All sources share one engine. Live ones give their newest frame, recordings
    every frame; in a window or on the page they are no faster than when recorded.
    q, Esc or Ctrl-C ends it; the video and the summary are completed. Exit status:
    3 where a source broke off, 4 where the video could not be written on.

    Examples:
    fer-edge camera 0
    fer-edge camera rtsp://user:password@10.0.0.7/stream --web 8080
    fer-edge camera 0 1 --headless --record door.mp4
    """
    from fer_edge.runtime.sinks import JsonLines, Mqtt, Video, Window
    from fer_edge.runtime.sinks.showing import show_moments
    from fer_edge.runtime.sinks.window import check_window

    for name, value in (("host", host), ("token", token), ("notice", notice or None)):
        if value is not None and web is None:
            raise UsageError(f"--{name} is for the live page.", hint="Add --web 8080")
    stop = threading.Event()
    outputs: list[Callable[[Sequence[Camera]], Sink]] = []
    if headless:
        outputs.append(lambda _: JsonLines(sys.stdout, stop))
    if record is not None:
        outputs.append(lambda cameras: Video(record, cameras))
    if mqtt is not None:
        outputs.append(lambda _: Mqtt(mqtt))
    if web is not None:
        outputs.append(lambda cameras: _page(cameras, host, web, token, notice=notice))
    if window or not outputs:
        outputs.insert(0, Window)
        try:
            check_window()
        except OutputError as error:
            raise OutputError(
                error.message, hint="Use --headless, --web 8080 or --record out.mp4 instead."
            ) from error
    finder = following.make(recognizing.device, recognizing.threads)
    with contextlib.ExitStack() as stack:
        recognizer = stack.enter_context(recognizing.recognizer(model))
        opened = stack.enter_context(contextlib.ExitStack())
        cameras = _open(sources, opened, size=_size(size), fps=fps, wait=wait_for)
        troubles: list[FerEdgeError] = []
        asked = stack.enter_context(_asked_to_end())
        summary = _Summary(cameras)
        sinks: list[Sink] = [summary]

        sinks.extend(stack.enter_context(contextlib.closing(output(cameras))) for output in outputs)
        shown = next((sink for sink in sinks if isinstance(sink, Window)), None)
        video = next((sink for sink in sinks if isinstance(sink, Video)), None)

        def failed(_: "Sink", error: FerEdgeError) -> None:
            troubles.append(error)
            stderr().print(str(error), markup=False)
            # Who only records has nothing to wait for.
            if video is not None and video.stopped and sinks == [summary, video]:
                stop.set()

        moments = recognizer.watch(
            cameras,
            detector=finder,
            detect_every=following.detect_every,
            smooth_seconds=following.smoothing,
        )
        pool = stack.enter_context(ThreadPoolExecutor(1, "fer-edge watching"))
        try:
            work = pool.submit(
                show_moments,
                moments,
                sinks,
                stop=stop,
                in_real_time=shown is not None or web is not None,
                failed=failed,
                # Nobody reads what goes to stdout any more, or it cannot be kept: the end.
                needed=[sink for sink in sinks if isinstance(sink, JsonLines)],
            )
            _look_on(work, asked, shown, cameras)
        finally:
            lost = [camera.error for camera in cameras if camera.live]
            stop.set()
            opened.close()
        work.result()
        if video is not None:
            try:
                video.close()
            except FerEdgeError as error:
                failed(video, error)
    for line in summary.lines():
        stderr().print(line, markup=False)
    for path in video.written if video is not None else ():
        stderr().print(f"Recorded: {path}", markup=False)
    _tell_end(cameras, lost, troubles)


def _page(
    cameras: "Sequence[Camera]", host: str | None, port: int, token: str | None, *, notice: bool
) -> "LivePage":
    """Serve the live page, and say where."""
    from fer_edge.runtime.live import NOTICE, LivePage

    told = NOTICE if notice else None
    page = LivePage(host or "127.0.0.1", port, token, notice=told, cameras=cameras)
    stderr().print(f"Live page: {page.start()}", markup=False)
    return page


def _tell_end(
    cameras: "Sequence[Camera]",
    lost: Sequence[Exception | None],
    troubles: Sequence[FerEdgeError],
) -> None:
    """Say which sources broke off; exit with a status of its own where something went wrong.

    ``lost`` is why live ones were so when they were closed, ``troubles`` what outputs have told.
    """
    code = max((trouble.exit_code for trouble in troubles), default=0)
    for failure in (failure for camera in cameras for failure in camera.failures):
        complain(str(failure))
        code = max(code, failure.exit_code)
    ended = [camera.error for camera in cameras if not camera.live]
    for error in ended:
        if error is not None:
            stderr().print(f"{error} What was read of it is kept.", markup=False)
    if any((*ended, *lost)):
        code = max(code, BrokenOffError.exit_code)
    if code:
        raise SystemExit(code)


class _Summary:
    """Counts what was seen of each camera."""

    def __init__(self, cameras: "Sequence[Camera]") -> None:
        from fer_edge.runtime.meter import Meter

        self._cameras = cameras
        self._meters = {camera.name: Meter() for camera in cameras}

    def show(self, moment: "Moment") -> None:
        self._meters[moment.frame.source].add(moment)

    def close(self) -> None: ...

    def lines(self) -> Iterator[str]:
        for camera in self._cameras:
            meter = self._meters[camera.name]
            facts = [f"{meter.frames:,} frames", f"{camera.dropped:,} dropped"]
            if camera.reconnects:
                facts.append(f"{camera.reconnects:,} reconnects")
            if meter.fps is not None:
                facts.append(f"{meter.mean_fps:.1f} fps")
            if meter.frames:
                facts.append(
                    f"age {meter.age_ms(0.5):,.1f} ms (p50), {meter.age_ms(0.99):,.1f} ms (p99)"
                )
            yield f"{camera.name}: {', '.join(facts)}"


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {text} is no size.", hint="Say --size 1280x720")
    return int(width), int(height)


def _open(
    sources: Sequence[str],
    stack: contextlib.ExitStack,
    *,
    size: tuple[int, int] | None,
    fps: float | None,
    wait: bool,
) -> "list[Camera]":
    """Open the sources; one that is named twice gets two names."""
    from fer_edge.runtime import Camera
    from fer_edge.runtime.capture import find_source

    cameras: list[Camera] = []
    for text in sources:
        source = find_source(text, size=size, fps=fps)
        again = sum(find_source(other).name == source.name for other in sources[: len(cameras)])
        name = f"{source.name} ({again + 1})" if again else source.name
        cameras.append(stack.enter_context(Camera(source, name=name, wait=wait)))
    return cameras


def _look_on(
    work: "Future[None]",
    asked: Callable[[], bool],
    window: "Window | None",
    cameras: "Sequence[Camera]",
) -> None:
    """Until it ends, keep the window alive, or else tell when a camera is lost and back."""
    from fer_edge.runtime.capture import State

    lost: set[str] = set()
    while not work.done() and not asked():
        if window is not None:
            if not window.refresh():
                return
            continue
        wait([work], _LOOK_EVERY)
        for camera in cameras:
            state, error = camera.state, camera.error
            if state in (State.LOST, State.OPENING) and error and camera.name not in lost:
                lost.add(camera.name)
                what = "is lost" if state is State.LOST else "is waited for"
                stderr().print(f"{camera.name} {what}: {error}", markup=False)
            elif camera.state is State.RUNNING and camera.name in lost:
                lost.remove(camera.name)
                stderr().print(f"{camera.name} is back.", markup=False)


@contextlib.contextmanager
def _asked_to_end() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a service manager has asked for the end; the second time, it is one."""
    times = 0

    def ask(*_: object) -> None:
        nonlocal times
        times += 1
        if times > 1:
            raise KeyboardInterrupt

    before = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: times > 0
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
