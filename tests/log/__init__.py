"""Tests of pipeline.log."""
