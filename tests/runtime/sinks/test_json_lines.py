import io
import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from fer_edge.runtime.sinks import JsonLines
from tests.moments import moment, seen


def test_a_line_for_each_moment() -> None:
    stream = io.StringIO()
    sink = JsonLines(stream)
    sink.show(moment(seen(), index=0))
    sink.show(moment(index=1))
    sink.close()
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["frame"], second["frame"]) == (0, 1)
    assert (len(first["faces"]), len(second["faces"])) == (1, 0)


def test_a_line_that_a_pipe_does_not_take_at_once_arrives_whole() -> None:
    many = moment(*[seen()] * 2000)
    read, write = os.pipe()
    with os.fdopen(read) as reader, os.fdopen(write, "w") as stream:
        stream.write("before\n")
        writing = threading.Thread(target=JsonLines(stream, threading.Event()).show, args=[many])
        writing.start()
        assert reader.readline() == "before\n"
        line = reader.readline()
        writing.join(10)
    assert len(line) > 100_000  # more than a pipe holds
    assert line == many.to_json() + "\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes cannot be waited for here")
def test_a_reader_that_is_stuck_is_not_waited_for_once_it_is_to_end() -> None:
    stop = threading.Event()
    read, write = os.pipe()
    with os.fdopen(read) as reader, os.fdopen(write, "w") as stream:
        sink = JsonLines(stream, stop)
        many = threading.Thread(target=sink.show, args=[moment(*[seen()] * 2000)], daemon=True)
        many.start()
        time.sleep(0.7)
        assert many.is_alive()
        stop.set()
        many.join(10)
        assert not many.is_alive()
        assert reader.read(10)
        sink.close()


def test_streams_of_all_kinds_take_lines(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    stop = threading.Event()
    stop.set()
    with (tmp_path / "lines").open("w+", encoding="utf-16-le") as stream:
        JsonLines(stream, stop).show(moment())
        stream.seek(0)
        assert json.loads(stream.read())["faces"] == []
    memory = io.StringIO()
    JsonLines(memory, stop).show(moment())
    assert memory.getvalue().endswith("}\n")
    JsonLines(sys.stdout, stop).show(moment())
    assert capsys.readouterr().out == memory.getvalue()
