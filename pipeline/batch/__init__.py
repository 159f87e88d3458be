"""A message's bytes to rows and back; its content type says how.

Every message gives at least one row, as a record or as a malformed row; `count_rows` counts them on its own, which is
how an audit counts a log.
"""

from pipeline.batch.blanking import without_devices
from pipeline.batch.decode import count_rows, decode, decode_refused
from pipeline.batch.message import encode
from pipeline.batch.refused import Refused, encode_refused
from pipeline.batch.rows import MAX_KEPT_BYTES, Decoded, Malformed, NewerVersionError

__all__ = [
    "MAX_KEPT_BYTES",
    "Decoded",
    "Malformed",
    "NewerVersionError",
    "Refused",
    "count_rows",
    "decode",
    "decode_refused",
    "encode",
    "encode_refused",
    "without_devices",
]
