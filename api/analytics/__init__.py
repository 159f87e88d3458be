"""Published statistics: named queries on the lake, and nothing that speaks of fewer than k devices."""
