"""A device lies where Kafka's own clients put it."""

import ctypes
from pathlib import Path

import confluent_kafka
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.partition import SHARDS, hash_ids, partition_of, shard_of

KAFKA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""What the Java client's own tests expect of murmur2, before the sign bit is cleared."""


def plain_murmur2(key: bytes) -> int:
    """Hash one key with Python's whole numbers; unsigned."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if key[whole:]:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_hashes_are_those_of_the_java_client() -> None:
    assert hash_ids(list(KAFKA_VECTORS)).tolist() == [h & 0x7FFFFFFF for h in KAFKA_VECTORS.values()]


@given(st.lists(st.binary(max_size=70), max_size=20))
def test_the_kernel_equals_its_plain_twin(ids: list[bytes]) -> None:
    assert hash_ids(ids).tolist() == [plain_murmur2(device_id) & 0x7FFFFFFF for device_id in ids]


def test_partitions_are_those_of_librdkafka() -> None:
    libraries = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
    library = next(libraries, None)
    if library is None:
        pytest.skip("confluent-kafka brings no librdkafka of its own here")
    partitioner = ctypes.CDLL(str(library)).rd_kafka_msg_partitioner_murmur2_random
    partitioner.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32, *[ctypes.c_void_p] * 2]
    ids = [np.random.default_rng(7).bytes(n).replace(b"\0", b"x") for n in range(1, 65)]
    theirs = [partitioner(None, device_id, len(device_id), SHARDS, None, None) for device_id in ids]
    assert [shard_of(device_id) for device_id in ids] == theirs
    assert partition_of(hash_ids(ids), 8).tolist() == [shard % 8 for shard in theirs]


@pytest.mark.parametrize("partitions", [0, -8, 3, 128])
def test_a_count_that_would_split_a_shard_is_refused(partitions: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        partition_of(5, partitions)
