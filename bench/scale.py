"""What thousands of cameras and millions of photos take, by arithmetic from recorded runs.

    python bench/scale.py

writes the tables of docs/explanation/scale.md anew from bench/results. All runs are of the carried
model in INT8 on the same processor; figures are its cores, fully used.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recording import RESULTS, table

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "scale.md"
BEGIN, END = "<!-- scale: written by bench/scale.py -->", "<!-- end of scale -->"

NODE_CORES = 16
USED = 0.7
"""Share of cores that is planned with: the rest is for peaks, and for a node that fails."""
SHOWN, LOOKED_AT = 30, 5
"""Frames a second that a camera sends, and in how many of them faces are looked for."""
MEGABITS = 4.0
"""Of a camera's 720p H.264 stream: taken, not measured."""
COMPUTED = (
    "<!-- figures: not measured, arithmetic on recorded runs that tests/bench/test_scale.py does "
    "again -->"
)
"""Before each part, for the check that every figure of a page is a recorded one."""
CAMERAS, PHOTOS = 1000, 10_000_000


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


@dataclass(frozen=True)
class Costs:
    """Milliseconds of one core."""

    decode: float
    """Of a frame of 720p."""
    detect: float
    """Of a frame."""
    crop: float
    """Of a face, as the following."""
    classify: float
    serve: float
    """Of the service, the classifier's among it."""
    follow: float
    """Of a frame with one face: tracks, smoothing, and what else there is."""
    photo: float
    """All of it, of a photo in an archive."""
    photo_bytes: float


def measured() -> Costs:
    serving, archive = read("serving"), read("archive")["labels"]
    (int8,) = (one for one in read("detector")["results"] if one["detector"] == "int8")
    parts = read("overhead")["rows"]["1 faces, watch"]["ms"]
    return Costs(
        decode=read("readers")["cpu_ms_per_frame_720p"]["PyAV"],
        detect=int8["cpu_ms"],
        crop=parts["crop"],
        classify=serving["one_caller_cpu_ms"] / 4,
        serve=serving["rows"]["fer-edge serve"]["server_cpu_ms"] / 4,
        follow=parts["track"] + parts["smooth"] + parts["rest"],
        photo=1e3 * archive["processes"]["cpu_seconds"] / archive["photos"],
        photo_bytes=archive["bytes"] / archive["photos"],
    )


def nodes(cores: float) -> int:
    return math.ceil(cores / (NODE_CORES * USED))


def camera_parts(costs: Costs) -> dict[str, float]:
    """Milliseconds of a core that a camera with one face takes in a second."""
    return {
        "decode": SHOWN * costs.decode,
        "detect": LOOKED_AT * costs.detect,
        "crop and classify": LOOKED_AT * (costs.crop + costs.classify),
        "follow": LOOKED_AT * costs.follow,
    }


def tables() -> str:
    costs = measured()
    parts = camera_parts(costs)
    cores = sum(parts.values()) / 1e3
    every = SHOWN * (costs.decode + costs.detect + costs.crop + costs.classify + costs.follow) / 1e3
    hours = PHOTOS * costs.photo / 3.6e6
    fleet = nodes(CAMERAS * cores)
    network = CAMERAS * MEGABITS / 1e3
    faces = [
        ["a million faces, crops given, one caller", f"{costs.classify / 3.6:.2f}"],
        ["a million faces by `fer-edge serve`, four a request", f"{costs.serve / 3.6:.2f}"],
        ["a million photos in an archive, found and classified", f"{costs.photo / 3.6:.1f}"],
        [f"a camera-day, {SHOWN} frames a second, {LOOKED_AT} looked at", f"{24 * cores:.1f}"],
        [f"a camera-day, all {SHOWN} looked at", f"{24 * every:.1f}"],
    ]
    shares = [
        [name, f"{spent:.1f}", f"{100 * spent / sum(parts.values()):.0f} %"]
        for name, spent in parts.items()
    ]
    plans = [
        [
            f"{CAMERAS:,} cameras, {LOOKED_AT} of {SHOWN} frames looked at",
            f"{CAMERAS * cores:,.0f}",
            f"{fleet}",
        ],
        [f"{CAMERAS:,} cameras, every frame", f"{CAMERAS * every:,.0f}",
         f"{nodes(CAMERAS * every)}"],
        [f"{PHOTOS:,} photos in a day", f"{hours / 24:.1f}", f"{nodes(hours / 24)}"],
        [f"{PHOTOS:,} photos in an hour", f"{hours:,.0f}", f"{nodes(hours)}"],
    ]  # fmt: skip
    made = [
        table(["one core", "core-hours"], faces),
        table(
            [f"of a camera, {LOOKED_AT} of {SHOWN} frames looked at", "ms a second", "share"],
            shares,
        ),
        table(["plan", "cores, busy", f"nodes of {NODE_CORES} cores"], plans),
        f"Network: {CAMERAS:,} cameras of {MEGABITS:.0f} Mbit/s bring {network:.1f} Gbit/s, "
        f"{network / fleet:.2f} to each of the {fleet} nodes. {PHOTOS:,} photos of "
        f"{costs.photo_bytes / 1e3:.0f} kB, as those of the run, are "
        f"{PHOTOS * costs.photo_bytes / 1e9:.0f} GB: in an hour "
        f"{PHOTOS * costs.photo_bytes * 8 / 3600 / 1e9:.2f} Gbit/s in all.",
    ]
    return "\n\n".join(f"{COMPUTED}\n{one}" for one in made)


def main() -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}")


if __name__ == "__main__":
    main()
