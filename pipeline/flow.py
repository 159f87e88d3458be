"""The dataflow, one operator a line: the log's partitions, their shards, the lake, and what goes out live."""

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from pipeline.connectors import LakeSink, LiveSink, LogSource
from pipeline.lake.tombstones import Tombstones
from pipeline.layout import Layout
from pipeline.network import Roads
from pipeline.operators import ShardLogic, Split, is_for_lake, is_for_sink, is_live
from pipeline.shard import Fences


def build_flow(
    layout: Layout,
    source: LogSource,
    fences: Fences,
    sink: LakeSink,
    live: LiveSink,
    kept_ms: int,
    roads: Roads | None = None,
) -> Dataflow:
    """Wire the dataflow; rows older than `kept_ms` are too old, and excess is measured by road where there is one."""
    flow = Dataflow("parkpal")
    chunks = op.input("log", flow, source)
    items = op.flat_map("split", chunks, Split(layout))
    routed = op.branch("route", items, is_for_sink)
    tombstones = Tombstones(sink.lake)
    decided = op.stateful_batch(
        "detect", routed.falses, lambda old: ShardLogic(layout, fences, old, tombstones, kept_ms, roads)
    )
    rows = op.map("address", decided, lambda keyed: keyed[1])
    op.output("live", op.filter("news", rows, is_live), live)
    facts = op.filter("facts", rows, is_for_lake)
    op.output("lake", op.merge("rows", routed.trues, facts), sink)
    return flow
