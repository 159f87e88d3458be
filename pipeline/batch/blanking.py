"""A message without what it says of some devices: as many rows as before, those of the devices with nothing in them.

A blanked row is no event any more: whoever reads the log again rejects it, and every count of rows holds. Bytes that
cannot be taken apart, and name a device, go as a whole; they counted as one row, and still do.
"""

from collections.abc import Collection

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.batch import arrow_events, json_events, message, refused
from pipeline.batch.rows import UnreadableError, blank
from pipeline.log import ARROW, BATCH, JSON, REFUSED

NOBODY = b"erased"
"""Stands where a device's id stood."""


def without_devices(content_type: str, payload: bytes, devices: Collection[str]) -> bytes | None:
    """Return the message's new payload, None where it names none of the devices."""
    ids = [device.encode() for device in devices]
    try:
        if content_type == ARROW:
            return _arrow(payload, devices)
        if content_type == REFUSED:
            return _refused(payload, ids)
        if not _names(payload, ids):
            return None
        if content_type == BATCH:
            return _batch(payload, ids)
        if content_type == JSON:
            events = json_events.split(payload)
            return msgspec.json.encode([msgspec.Raw(b"{}" if _names(raw, ids) else raw) for raw in events])
    except UnreadableError:
        pass
    return b"" if _names(payload, ids) else None


def _names(text: bytes, ids: Collection[bytes]) -> bool:
    return any(device_id in text for device_id in ids)


def _batch(payload: bytes, ids: Collection[bytes]) -> bytes:
    """Blank the records of the devices, but for when they were received, and put NOBODY in the table of ids."""
    table, rows = message.take_apart(payload)
    gone = np.array([device_id in ids for device_id in table])
    named = gone[np.minimum(rows["device"], len(table) - 1)] & (rows["device"] < len(table))
    blanks = blank(int(named.sum()))
    blanks["receive_time"], blanks["device"] = rows["receive_time"][named], rows["device"][named]
    rows[named] = blanks
    return message.put_together([NOBODY if is_gone else i for i, is_gone in zip(table, gone, strict=True)], rows)


def _arrow(payload: bytes, devices: Collection[str]) -> bytes | None:
    table, _ = arrow_events.read(payload)
    if "device_id" not in table.schema.names:
        return None
    plain = table["device_id"].cast(pa.string())  # a dictionary would go on naming the devices
    named = pc.is_in(plain, value_set=pa.array(devices, pa.string()))  # false for null
    if not pc.any(named).as_py():
        return None
    table = table.set_column(table.schema.get_field_index("device_id"), "device_id", plain)
    out = pa.BufferOutputStream()
    # Rows of others stay as they are; those of the devices come last, as nothing but nulls.
    kept = table.filter(pc.invert(named))
    empty = pa.table({f.name: pa.nulls(len(table) - len(kept), f.type) for f in table.schema}, schema=table.schema)
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(pa.concat_tables([kept, empty]))
    return bytes(out.getvalue())


def _refused(payload: bytes, ids: Collection[bytes]) -> bytes | None:
    parts = [refused.without(raw, ids) for raw in refused.split(payload)]
    if not any(changed for _, changed in parts):
        return None
    return msgspec.json.encode({"refused": [msgspec.Raw(raw) for raw, _ in parts]})
