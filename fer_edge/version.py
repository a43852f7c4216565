"""The version, alone, so that every module may import it."""

import re

__version__ = "0.2.0"


def version_numbers(version: str) -> list[int]:
    """``[0, 3, 1]`` of ``"0.3.1"``, which compare as versions do."""
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
