"""Running out of memory: how to recognise it, how to free memory, and what an author can do about it."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import try_to_load_from_cache

from mkdocs_attnviz import byte_sizes
from mkdocs_attnviz.models.identity.model_files import PICKLES
from mkdocs_attnviz.models.identity.reference import ModelRef

if TYPE_CHECKING:
    from mkdocs_attnviz.models.inputs.tokens import Example
    from mkdocs_attnviz.models.loading.loaded import Loaded

RAN_OUT = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|unable to allocate|bad_alloc"
    r"|ALLOC_FAILED",
    re.IGNORECASE,
)
"""Messages of allocators: CUDA, MPS, the processor on Windows and elsewhere, mmap, NumPy, C++, cuBLAS."""
ASKED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGT]i?B)")
UNITS = {"bytes": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def ran_out(error: BaseException) -> bool:
    """Return whether an error was raised because memory ran out."""
    return any(
        isinstance(cause, MemoryError | torch.OutOfMemoryError)
        or (isinstance(cause, RuntimeError | OSError) and RAN_OUT.search(str(cause)) is not None)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def free() -> None:
    """Free unused memory. Nothing may hold the exception any more, since its frames hold tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def too_long(loaded: Loaded, example: Example | None, error: Exception) -> str:
    """Return a sentence about a text that does not fit, with numbers and advice.

    It must be made before memory is freed, since it states how much was free.
    """
    model, ref = loaded.model, loaded.ref
    lengths = [len(side.ids) for side in (example.text, example.target) if side] if example else []
    what = f" of {max(lengths)} tokens" if lengths else ""
    facts = [] if not lengths else [_one_layer(loaded, max(lengths))]
    facts.append(_shortage(error, full(error, loaded.device)))
    what_helps = ["a shorter text", *_settings(ref, _bytes_per_number(model)), "another `device`"]
    return (
        f"Memory ran out on this text{what}: {'; '.join(filter(None, facts)) or 'nothing more is known'}. What helps: "
        f"{', '.join(what_helps)}. `max_tokens` refuses what is too long before it is run."
    )


def too_large(ref: ModelRef, size: int | None, device: torch.device) -> str:
    """Return a sentence about a model that does not fit, with advice; the memory it took has been freed."""
    weights = f": its weights take {byte_sizes.shown(size)}" if size else ""
    room = _room(device)
    what_helps = [*_settings(ref, 4 if ref.dtype in ("auto", "float32") else 2), "another `device`", "a smaller model"]
    return (
        f"Model {ref.name!r} does not fit into memory{weights}{', and ' + room if room else ''}. What helps: "
        f"{', '.join(what_helps)}."
    )


def _settings(ref: ModelRef, bytes_each: int) -> list[str]:
    """Return the settings of the model that may still help."""
    advice = ["`dtype: float16` or `bfloat16` for the model"] if bytes_each > 2 else []
    return advice + ([] if ref.device_map else ["`device_map: auto` for the model"])


def size_of(model: torch.nn.Module) -> int:
    """Return the size of a model's weights in bytes."""
    return sum(weight.nbytes for weight in model.parameters())


def size_of_files(ref: ModelRef) -> int | None:
    """Return the size in bytes of the files that hold a model's weights; None if they are not on this machine."""
    folder = Path(ref.path)
    if not ref.local:
        config = try_to_load_from_cache(ref.path, "config.json", revision=ref.revision)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
    for patterns in (("*.safetensors",), PICKLES):
        if size := sum(file.stat().st_size for pattern in patterns for file in folder.glob(pattern)):
            return size
    return None


def _bytes_per_number(model: Any) -> int:
    """Return the size in bytes of one number of the model."""
    return int(model.dtype.itemsize)


def _one_layer(loaded: Loaded, tokens: int) -> str:
    """Return a phrase with the size of one layer's attention weights in all heads; '' if the number of heads is
    unknown.
    """
    heads = getattr(loaded.model.config.get_text_config(), "num_attention_heads", None)
    if loaded.attention_map is not None:
        heads = max(layer.heads for stack in loaded.attention_map.stacks.values() for layer in stack.layers)
    if not isinstance(heads, int):
        return ""
    bytes_each = _bytes_per_number(loaded.model)
    size = byte_sizes.shown(heads * tokens**2 * bytes_each)
    return (
        f"the attention of one layer takes {size} ({heads} heads × {tokens} × {tokens} × "
        f"{bytes_each} bytes), and computing it takes several times as much"
    )


def _shortage(error: Exception, device: torch.device) -> str:
    request = next((match for cause in _causes(error) if (match := ASKED.search(str(cause)))), None)
    size = 0.0 if request is None else float(request[1]) * UNITS[request[2].replace("iB", "B")]
    needed = "" if request is None else f"{byte_sizes.shown(size)} more were needed"
    return ", and ".join(filter(None, [needed, _room(device)]))


def full(error: Exception, device: torch.device) -> torch.device:
    """Return the device that ran out of memory: `device`, unless the error names another."""
    gpu = re.search(r"\bGPU (\d+)", str(error))
    if gpu:
        return torch.device("cuda", int(gpu[1]))
    return torch.device("cpu") if isinstance(error, MemoryError) or "CPUAllocator" in str(error) else device


def _room(device: torch.device) -> str:
    """Return a phrase with the free memory of a device; '' if it is not known."""
    free = total = 0
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
    elif device.type == "mps":
        total = torch.mps.recommended_max_memory()
        free = max(total - torch.mps.driver_allocated_memory(), 0)
    elif device.type == "cpu":
        free, total = _of_processor()
    return f"device {str(device)!r} has {byte_sizes.shown(free)} of {byte_sizes.shown(total)} free" if total else ""


def _of_processor() -> tuple[int, int]:
    """Return the free and total memory in bytes; (0, 0) if unknown. It works on Linux only.

    The kernel's count is used, or the limit of the process (`ulimit -v`) if that leaves less.
    """
    free = total = 0
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        sizes = {name: int(value.split()[0]) << 10 for name, value in lines}
        free, total = sizes["MemAvailable"], sizes["MemTotal"]
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        if limit != resource.RLIM_INFINITY and limit - used < free:
            return max(limit - used, 0), limit
    return free, total
