"""The steps of bench/gpu.py, in their order."""

from gpu_steps import frames, hazards, models, runtimes, suite
from gpu_steps.step import Skipped, Step

__all__ = ["STEPS", "Skipped", "Step"]

STEPS: dict[str, Step] = {
    "machine": Step("GPUs, drivers, packages", 60, suite.machine),
    "tests": Step("the tests that are marked gpu", 900, suite.tests),
    "capture": Step("capture while another thread allocates", 120, hazards.capture),
    "rtx-validity": Step("what TensorRT-RTX says of this GPU", 180, runtimes.rtx_validity),
    "auto": Step("what auto takes, and instead of what", 600, runtimes.auto),
    "illegal-access": Step("an illegal access, then run, close, exit", 120, hazards.illegal_access),
    "arrays": Step("arrays of torch, CuPy and Numba", 300, hazards.arrays),
    "frames": Step("frames sent, scaled and cropped there", 300, frames.travelling),
    "frames-batches": Step("frames of several cameras together", 900, frames.batches),
    "frames-once": Step("detect, crop, classify: where frames are", 900, frames.once),
    "rtx-open-cold": Step("opening with RTX, no kernels cached", 600, runtimes.rtx_cold),
    "rtx-open-warm": Step("opening with RTX, kernels cached", 300, runtimes.rtx_warm),
    "rtx-open-lazy": Step("RTX with lazy kernels, nothing cached", 600, runtimes.rtx_lazy),
    "rtx-int8": Step("INT8 against FP16 in RTX", 600, runtimes.rtx_precisions),
    "onnxruntime-search": Step(
        "ONNX Runtime CUDA, exhaustive against heuristic", 300, runtimes.onnxruntime_search
    ),
    **{
        f"{model}-{backend}": Step(
            f"{model} in {backend}, batch 1, 8, 64", 900, models.measuring(model, backend)
        )
        for model in ("compact", "resnet50", "vgg19")
        for backend in ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "torch-compile")
    },
}
