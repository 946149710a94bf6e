"""Which device, how many pictures at once, and what to do when memory runs out."""

from collections.abc import Callable
from typing import TypeVar

import torch

from robustkit.errors import ToolError, UserError

T = TypeVar("T")

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def choose_device(text: str = "auto") -> torch.device:
    """The device named, or the best there is; raises UserError or ToolError otherwise."""
    if text == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UserError(
            "a device: auto, cpu, cuda, cuda:1, mps", repr(text), "write --device auto"
        ) from None
    usable = {"cpu": True, "cuda": torch.cuda.is_available()}
    usable["mps"] = torch.backends.mps.is_available()
    if not usable.get(device.type, False):
        raise ToolError(f"a working {device.type} device", "none here", "use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ToolError(f"one of {count} cuda devices", text, f"use cuda:0 to cuda:{count - 1}")
    return device


def choose_batch_size(device: torch.device, numbers: int) -> int:
    """A batch size for pictures of that many numbers: a power of two.

    On the CPU about half a million numbers a batch, where caches still hold the activations of a
    small net; on a GPU as much as a tenth of the free memory would hold sixty times over.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        wanted = free // 10 // (numbers * 4 * 60)
        most = 1024
    else:
        wanted, most = 2**19 // numbers, 128
    return 1 << (max(8, min(most, int(wanted))).bit_length() - 1)


def halving(run: Callable[[int], T], batch_size: int) -> tuple[T, int]:
    """Run with a batch size, halved as often as memory runs out; the result and the size used.

    Raises ToolError if even one picture at a time does not fit.
    """
    while True:
        try:
            return run(batch_size), batch_size
        except (RuntimeError, MemoryError) as error:
            text = str(error).lower()
            memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
            if not memory and not any(sign in text for sign in OUT_OF_MEMORY):
                raise
            if batch_size == 1:
                raise ToolError(
                    "memory for one picture",
                    "out of memory",
                    "use a larger machine or --device cpu",
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        batch_size = max(1, batch_size // 2)
