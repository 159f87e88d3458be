"""The lake: tables, Parquet layout, commit, catalog. Writers append, readers query."""

from pipeline.lake.lake import Lake, LakeMissingError

__all__ = ["Lake", "LakeMissingError"]
