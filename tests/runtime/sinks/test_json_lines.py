import io
import json

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
