"""What a training runs on, and in which precision."""

import torch

from fer_edge.errors import UsageError


def resolve_device(name: str, number: int = 0) -> torch.device:
    """``auto`` is the GPU where there is one; UsageError if the device asked for is not there.

    ``number`` chooses the GPU where the name does not.
    """
    if name == "auto":
        return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"--device {name} is not a device.", hint="Use auto, cpu or cuda."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name} is not supported.", hint="Use auto, cpu or cuda.")
    if device.type == "cuda":
        device = torch.device("cuda", number if device.index is None else device.index)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"--device {name}: torch sees {count or 'no'} GPU{'s' if count > 1 else ''}.",
                hint="fer-edge doctor says what is missing.",
            )
    return device


def amp_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What a training computes in beside float32; None for float32 alone."""
    if precision == "auto":
        if device.type != "cuda":
            # bf16 is slower than fp32 on some CPUs (Xeon without AMX) and faster on others (Zen 4).
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
