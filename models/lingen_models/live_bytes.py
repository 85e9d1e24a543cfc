"""The most bytes of tensors that are alive at a time while something runs, on any device.

On the meta device nothing is computed, so a network of any size can be counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_Form = tuple[torch.Size, tuple[int, ...], torch.dtype]
_FORMS: dict[Hashable, tuple[_Form | None, ...]] = {}
"""Size, strides and dtype of the tensors that operations on the meta device return, by operation
and arguments. torch finds them out in Python, and the layers of a network ask again and again."""


class LiveBytes(TorchDispatchMode):
    """A mode that adds up the storages that are made inside it; `peak` is the most of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = _called(func, args, kwargs or {})
        for tensor in _tensors(out):
            self._see(tensor)
        return out

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._now += self._sizes[key]
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)


def _called(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what `func` returns; on the meta device, without asking torch for the same twice."""
    if not _makes_tensors(func):
        return func(*args, **kwargs)
    key = func, _described(args), _described(list(kwargs.items()))
    if (forms := _FORMS.get(key)) is None:
        out = func(*args, **kwargs)
        if (found := _forms(out, (args, kwargs))) is not None:
            _FORMS[key] = found
        return out
    made = [
        None if form is None else torch.empty_strided(*form[:2], dtype=form[2], device="meta")
        for form in forms
    ]
    return made[0] if len(made) == 1 else tuple(made)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among what an operation takes or returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))


@cache
def _makes_tensors(func: Any) -> bool:
    """Tell whether an operation returns tensors of its own, no views and no arguments."""
    return all(one.alias_info is None for one in func._schema.returns)


def _described(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device.type
    if isinstance(value, tuple | list):
        return tuple(map(_described, value))
    return type(value), value


def _forms(out: Any, given: Any) -> tuple[_Form | None, ...] | None:
    """Return the forms of tensors on the meta device; None where the same form is not the same:
    storages that are larger, or those of arguments, and other values than tensors."""
    parts = out if isinstance(out, tuple) else (out,)
    storages = {one.untyped_storage()._cdata for one in _tensors(given)}
    found: list[_Form | None] = []
    for part in parts:
        if part is None:
            found.append(None)
            continue
        if not isinstance(part, Tensor) or part.device.type != "meta":
            return None
        form = part.shape, part.stride(), part.dtype
        like = torch.empty_strided(*form[:2], dtype=part.dtype, device="meta")
        storage = part.untyped_storage()
        if storage._cdata in storages or storage.nbytes() != like.untyped_storage().nbytes():
            return None
        storages.add(storage._cdata)
        found.append(form)
    return tuple(found) if len(parts) > 1 or isinstance(out, Tensor) else None
