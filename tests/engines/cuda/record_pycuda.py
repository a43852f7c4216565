"""Record what PyCUDA's driver module offers, from its sources: building it needs CUDA's toolkit.

pip download --no-deps --no-binary pycuda pycuda==2026.1
tar xzf pycuda-2026.1.tar.gz
python tests/engines/cuda/record_pycuda.py pycuda-2026.1
"""

import re
import sys
from pathlib import Path

RECORDED = Path(__file__).with_name("pycuda-2026.1.txt")


def names_of(source: str) -> list[str]:
    """Functions and enumerations as "name", methods and properties as "Class.name"."""
    found, owner = set(), ""
    pattern = (
        r'py::(?P<kind>class_|enum_|def)[^"]*?"(?P<top>\w+)"'
        r'|\.(?:def|add_property)\("(?P<method>\w+)"'
        r"|\.DEF_SIMPLE_METHOD\((?P<simple>\w+)\)"
        r'|\.value\("(?P<value>\w+)"'
        r"|DECLARE_EXC\((?P<error>\w+), "
    )
    for match in re.finditer(pattern, source):
        if match["top"]:
            found.add(match["top"])
            owner = "" if match["kind"] == "def" else f"{match['top']}."
        elif match["error"]:
            found.add(match["error"])
        else:
            found.add(owner + (match["method"] or match["simple"] or match["value"]))
    return sorted(found)


if __name__ == "__main__":
    source = Path(sys.argv[1], "src/wrapper/wrap_cudadrv.cpp").read_text()
    RECORDED.write_text("\n".join(names_of(source)) + "\n")
