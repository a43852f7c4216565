"""Make fer_edge/engines/cuda/frames.ptx, which a GPU's driver compiles for itself.

pip install nvidia-cuda-nvrtc-cu11==11.8.89
python -m tests.engines.cuda.make_kernels

PTX is good for every later GPU and driver than the ones it is written for: NVRTC 11.8 writes it for
drivers from 520 on, and compute 7.0. So a device needs no compiler of CUDA (23 to 110 MB), and
opens no slower: drivers compile this in 0.06 s, once, and keep it. The first line is the hash of
the source, by which a test sees that both belong together.
"""

import ctypes
import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import fer_edge.engines.cuda

SOURCE = Path(fer_edge.engines.cuda.__file__).with_name("frames.cu")
MADE = SOURCE.with_suffix(".ptx")
ARCHITECTURE = "compute_70"
MAKER = "nvidia-cuda-nvrtc-cu11"
PACKAGES = (MAKER, "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc")


class CompilationError(Exception):
    """What NVRTC says."""


def nvrtc(*packages: str) -> ctypes.CDLL | None:
    """NVRTC of the first of those packages that is installed; it needs neither GPU nor driver."""
    for package in packages or PACKAGES:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        found = {file.name.split(".so")[0]: file for file in files if ".so" in file.name}
        if "libnvrtc" in found:
            # It looks for the other, which no search path has.
            ctypes.CDLL(str(found["libnvrtc-builtins"].locate()))
            return ctypes.CDLL(str(found["libnvrtc"].locate()))
    return None


def compiled(library: ctypes.CDLL, architecture: str) -> bytes:
    """PTX for ``compute_70``, a cubin for ``sm_70``.

    Raises
    ------
    CompilationError
        The source is wrong, or NVRTC does not know the architecture.
    """
    # NVRTC leaves its thread in the locale C, in which Python reads files as ASCII.
    with ThreadPoolExecutor(1, "NVRTC") as own:
        return own.submit(_compiled, library, architecture).result()


def _compiled(library: ctypes.CDLL, architecture: str) -> bytes:
    program = ctypes.c_void_p()
    source = SOURCE.read_bytes()
    _check(
        library,
        library.nvrtcCreateProgram(ctypes.byref(program), source, b"frames.cu", 0, None, None),
    )
    option = f"--gpu-architecture={architecture}".encode()
    options = (ctypes.c_char_p * 1)(option)
    code = library.nvrtcCompileProgram(program, 1, options)
    if code:
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        raise CompilationError(log.value.decode())
    kind = "CUBIN" if architecture.startswith("sm_") else "PTX"
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
    found = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{kind}")(program, found))
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return found.raw


def _check(library: ctypes.CDLL, code: int) -> None:
    if code:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CompilationError(library.nvrtcGetErrorString(code).decode())


def hash_line() -> bytes:
    """First line of what was made of the source as it is now."""
    return b"// " + hashlib.sha256(SOURCE.read_bytes()).hexdigest().encode() + b"\n"


def made(library: ctypes.CDLL) -> bytes:
    """What the file is to have."""
    text = compiled(library, ARCHITECTURE).rstrip(b"\0")
    # What the compiler says of itself changes with its build.
    body = b"\n".join(line for line in text.splitlines() if line and not line.startswith(b"//"))
    return hash_line() + body + b"\n"


def main() -> None:
    library = nvrtc(MAKER)
    if library is None:
        raise SystemExit(f"Run: pip install {MAKER}==11.8.89")
    MADE.write_bytes(made(library))
    print(f"{MADE}: {MADE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
