"""Columns to bytes and back, for snapshots: versioned, with nothing in them that runs."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.lib.format import descr_to_dtype
from numpy.typing import NDArray

VERSION: Final = 1
Columns = Mapping[str, NDArray[Any]]


class StateVersionError(Exception):
    """The recovery store was written by a newer version: run that version, or restore a store of this one."""


class _Column(msgspec.Struct, array_like=True):
    descr: str | list[list[Any]]  # as NumPy describes a dtype: its name, or the fields of a record
    shape: tuple[int, ...]
    content: bytes


class _State(msgspec.Struct, array_like=True):
    version: int
    columns: dict[str, _Column]


_decoder: Final = msgspec.msgpack.Decoder(_State)


def pack(columns: Columns) -> bytes:
    """Return the columns as bytes; a dtype is a plain one or a record of plain ones."""
    packed = {
        name: _Column(
            column.dtype.str if column.dtype.names is None else [list(field) for field in column.dtype.descr],
            column.shape,
            column.tobytes(),
        )
        for name, column in columns.items()
    }
    return msgspec.msgpack.encode(_State(VERSION, packed))


def unpack(state: bytes) -> dict[str, NDArray[Any]]:
    """Return the columns that `pack` took, read-only; StateVersionError if a newer version packed them."""
    unpacked = _decoder.decode(state)
    if unpacked.version > VERSION:
        raise StateVersionError(f"recovery store of version {unpacked.version}, this program knows up to {VERSION}")
    return {
        name: np.frombuffer(column.content, _dtype(column.descr)).reshape(column.shape)
        for name, column in unpacked.columns.items()
    }


def part(columns: Columns, prefix: str) -> dict[str, NDArray[Any]]:
    """Return the columns whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): column for name, column in columns.items() if name.startswith(prefix)}


def _dtype(descr: str | list[list[Any]]) -> np.dtype[Any]:
    if isinstance(descr, str):
        return np.dtype(descr)
    return descr_to_dtype([(name, kind, *map(tuple, shape)) for name, kind, *shape in descr])  # knows of padding
