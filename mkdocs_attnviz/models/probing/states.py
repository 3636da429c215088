"""The recurrent states that transformers hands out: state spaces (Mamba), RWKV, xLSTM, RecurrentGemma, and hybrids.

A model hands out the states after the last token only. So it reads the text token by token, each time with the cache of
the token before, and the cache is looked at after each. These states have no gates in the sense of an LSTM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

CACHES = ("past_key_values", "cache_params", "state")
"""The names by which models take and return what they keep between tokens."""
MOST = 10**8
"""The largest number of values that are held in memory: 400 MB."""

States = dict[int, torch.Tensor]
"""The state of each layer: (units,) after one token, or (T, units)."""


def recurrent_states(loaded: Loaded, example: Example, include: Sequence[int] | None = None) -> States:
    """Return the state of each layer after each token, (T, units). `include` has the numbers of the layers, or None.

    Raises:
        Unusable: the model hands out no recurrent states.
        ValueError: all states together are too many.
    """
    ids = torch.tensor([example.text.ids], device=loaded.device)
    with torch.inference_mode():
        states = _of_modules(loaded.model, ids) or _step_by_step(loaded, ids, include)
    if not states:
        kind = loaded.model.config.model_type
        raise Unusable(
            f"Model {loaded.ref.name!r} ({kind}) hands out no recurrent states; `part: residual` and `part: neurons` "
            "show what it computes at each token."
        )
    return {layer: state for layer, state in states.items() if include is None or layer in include}


def _of_modules(model: nn.Module, ids: torch.Tensor) -> States:
    """Return the states of modules that compute those of all tokens at once and return them, as RecurrentGemma's do."""
    returned: dict[str, torch.Tensor] = {}
    handles = []

    def hook(name: str) -> Any:
        def look(module: nn.Module, _args: Any, output: Any) -> None:
            last = getattr(module, "recurrent_states", None)
            if not isinstance(last, torch.Tensor) or not isinstance(output, torch.Tensor) or output.dim() != 3:
                return
            if torch.allclose(output[:, -1].float(), last.float(), atol=1e-4):
                returned[name] = output[0].float().cpu()

        return look

    for name, module in model.named_modules():
        if hasattr(module, "recurrent_states"):
            handles.append(module.register_forward_hook(hook(name)))
    if handles:
        try:
            model(input_ids=ids)
        finally:
            for handle in handles:
                handle.remove()
    return {next(int(part) for part in name.split(".") if part.isdigit()): state for name, state in returned.items()}


def _step_by_step(loaded: Loaded, ids: torch.Tensor, include: Sequence[int] | None) -> States:
    """Return the states in the caches after each token.

    Raises:
        ValueError: all states together are too many.
    """
    cache: Mapping[str, Any] = {}
    steps: dict[int, list[torch.Tensor]] = {}
    for position in range(ids.shape[1]):
        output = loaded.model(input_ids=ids[:, position : position + 1], use_cache=True, return_dict=True, **cache)
        cache = {name: output[name] for name in CACHES if output.get(name) is not None}
        states = dict(_in_caches(cache.values()))
        kept = {layer: state for layer, state in states.items() if include is None or layer in include}
        if position == 0:
            _check_size(loaded, kept, ids.shape[1])
        if not kept:
            break
        for layer, state in kept.items():
            steps.setdefault(layer, []).append(state.detach().float().cpu().clone())
    return {layer: torch.stack(several) for layer, several in sorted(steps.items())}


def _check_size(loaded: Loaded, states: States, tokens: int) -> None:
    total = tokens * sum(state.numel() for state in states.values())
    if total > MOST:
        units = max(state.numel() for state in states.values())
        raise WrongValue(
            "include_layers",
            f"The states of {len(states)} layers of model {loaded.ref.name!r} at {tokens} tokens are {total:,} "
            f"numbers, and at most {MOST:,} are read; name fewer layers in `include_layers` ({units:,} units each), or "
            "give a shorter text.",
        )


def _in_caches(caches: Any) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the number of each recurrent layer in some caches, and its state as one vector."""
    for cache in caches:
        if isinstance(cache, list) and len(cache) == 5:  # RWKV: the mean of values is a numerator over a denominator
            mean = cache[2][0] / cache[3][0].clamp(min=torch.finfo(torch.float32).tiny)  # (units, layers)
            yield from enumerate(mean.unbind(-1))
        elif isinstance(states := getattr(cache, "rnn_state", None), Mapping):  # xLSTM: memory, normaliser, maximum
            yield from ((layer, state[0][0].flatten()) for layer, state in states.items())
        else:
            for number, layer in enumerate(getattr(cache, "layers", [])):
                held = [state for state in getattr(layer, "recurrent_states", {}).values() if state is not None]
                if held:
                    yield number, torch.cat([state[0].flatten() for state in held])
