import json
import time

import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.runtime.row_files import columns
from tests.moments import moment, seen


def test_a_line_of_json_has_all_but_the_pixels() -> None:
    line = moment(seen(), index=7, position=1.5, age_ms=12.3456).to_json()
    told = json.loads(line)
    assert "\n" not in line
    assert (told["source"], told["frame"], told["position"]) == ("door", 7, 1.5)
    assert told["size"] == [640, 480]
    assert told["age_ms"] == pytest.approx(12.346, abs=0.01)
    assert told["captured"] == pytest.approx(time.time(), abs=5)
    (face,) = told["faces"]
    assert face["box"] == [200, 150, 100, 120]
    assert face["emotion"] == "happy"
    assert (told["state"], face["seen"]) == ("running", True)
    assert tuple(face["probabilities"]) == tuple(face["raw"]) == EMOTIONS
    assert (face["probabilities"]["happy"], face["raw"]["happy"]) == (0.7, 1.0)


def test_rows_are_flat_one_per_face() -> None:
    first, second = moment(
        seen(), seen((1, 2, 3, 4), label=0, track=5), index=7, position=1.5
    ).to_rows()
    assert list(first) == list(columns())
    assert (second["frame"], second["time"], second["track"]) == (7, 1.5, 5)
    assert [second[name] for name in ("x", "y", "width", "height")] == [1, 2, 3, 4]
    assert (second["emotion"], second["p_angry"]) == ("angry", pytest.approx(0.7))
    assert (second["raw_angry"], second["raw_happy"]) == (1, 0)
    assert moment().to_rows() == []


def test_what_is_printed_of_a_moment_has_no_pixels() -> None:
    assert repr(moment(seen(), index=7, age_ms=12)) == (
        "Moment(door, frame 7, 1 faces, 12 ms old, running)"
    )
