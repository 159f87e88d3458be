"""The dataflow, one operator a line: the log's partitions, their shards, the lake."""

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from pipeline.connectors import LakeSink, LogSource
from pipeline.log import POSITIONS
from pipeline.operators import ShardLogic, Split, is_for_sink
from pipeline.shard import Fences


def build_flow(source: LogSource, fences: Fences, sink: LakeSink) -> Dataflow:
    """Wire the dataflow."""
    flow = Dataflow("parkpal")
    chunks = op.input("log", flow, source)
    items = op.flat_map("split", chunks, Split(source.log.partitions(POSITIONS)))
    routed = op.branch("route", items, is_for_sink)
    decided = op.stateful_batch("detect", routed.falses, lambda snapshot: ShardLogic(fences, snapshot))
    facts = op.map("address", decided, lambda keyed: keyed[1])
    op.output("lake", op.merge("rows", routed.trues, facts), sink)
    return flow
