"""Which partition and shard a device belongs to: Kafka's own hash, so any Kafka client puts a device where we look.

h = murmur2 of the id's bytes (seed 0x9747b28c, as the Java client and librdkafka's `murmur2_random` compute it) with
the sign bit cleared; shard = h mod 64 and partition = h mod P. P is a power of two of at most 64, so that a shard lies
in one partition. Source: Austin Appleby's MurmurHash2, as Apache Kafka uses it to place keyed messages.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

SHARDS: Final = 64

Hash = TypeVar("Hash", int, NDArray[np.int32])

_SEED: Final = np.uint32(0x9747B28C)
_M: Final = np.uint32(0x5BD1E995)
_R: Final = np.uint32(24)
_POSITIVE: Final = np.uint32(0x7FFFFFFF)


def hash_ids(device_ids: Sequence[bytes]) -> NDArray[np.int32]:
    """Hash each id; int32 (n,), sign bit cleared."""
    lengths = np.fromiter(map(len, device_ids), np.int64, len(device_ids))
    ends = np.cumsum(lengths)
    hashes = np.empty(len(device_ids), np.int32)
    _murmur2(np.frombuffer(b"".join(device_ids), np.uint8), ends - lengths, ends, hashes)
    return hashes


def shard_of(device_id: bytes) -> int:
    """Return the device's shard, 0 to 63."""
    return int(hash_ids([device_id])[0]) % SHARDS


def partition_of(h: Hash, partitions: int) -> Hash:
    """Return the partition of a hash or of an array of them; ValueError unless P is a power of two of at most 64."""
    if not 1 <= partitions <= SHARDS or partitions & (partitions - 1):
        raise ValueError(f"{partitions} partitions: must be a power of two from 1 to {SHARDS}")
    return h & (partitions - 1)


@njit(cache=True, nogil=True)
def _murmur2(
    text: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], out: NDArray[np.int32]
) -> None:
    for i in range(len(out)):
        at, end = starts[i], ends[i]
        h = _SEED ^ np.uint32(end - at)
        while end - at >= 4:
            k = np.uint32(text[at]) | np.uint32(text[at + 1]) << np.uint32(8)
            k |= np.uint32(text[at + 2]) << np.uint32(16) | np.uint32(text[at + 3]) << np.uint32(24)
            k = np.uint32(k * _M)
            k = np.uint32((k ^ (k >> _R)) * _M)
            h = np.uint32(np.uint32(h * _M) ^ k)
            at += 4
        if end - at == 3:
            h ^= np.uint32(text[at + 2]) << np.uint32(16)
        if end - at >= 2:
            h ^= np.uint32(text[at + 1]) << np.uint32(8)
        if end - at >= 1:
            h = np.uint32((h ^ np.uint32(text[at])) * _M)
        h = np.uint32((h ^ (h >> np.uint32(13))) * _M)
        out[i] = np.int32((h ^ (h >> np.uint32(15))) & _POSITIVE)
