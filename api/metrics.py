"""Every metric of the API, declared once with its meaning.

With several worker processes the client library keeps the numbers in files of a folder that the entry point names
before anything is imported (PROMETHEUS_MULTIPROC_DIR), and whichever worker is asked answers for all.
"""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000)


class Metrics:
    """The metrics of one app. multiprocess_dir: the folder shared by the workers, or None for one process."""

    def __init__(self, multiprocess_dir: str | None = None) -> None:
        self._multiprocess_dir = multiprocess_dir
        self._registry = registry = CollectorRegistry()
        count = partial(Counter, registry=registry)
        spread = partial(Histogram, registry=registry)
        gauge = partial(Gauge, registry=registry)
        self.requests = count("parkpal_requests_total", "Answers given", ["method", "route", "status"])
        self.request_seconds = spread(
            "parkpal_request_seconds", "From headers read to answer begun", ["route"], buckets=_SECONDS
        )
        self.events_accepted = count("parkpal_events_accepted_total", "Events answered as accepted: durable in the log")
        self.events_repeated = count(
            "parkpal_events_repeated_total", "Events answered as duplicates, not written again"
        )
        self.events_rejected = count(
            "parkpal_events_rejected_total", "Events answered as rejected, kept in the log", ["reason"]
        )
        self.unknown_fields = count("parkpal_unknown_fields_total", "Fields of batches and events that were ignored")
        self.clocks_corrected = count(
            "parkpal_clocks_corrected_total", "Batches whose phone's clock was more than 5 s off"
        )
        self.append_seconds = spread("parkpal_append_seconds", "Time for one group to become durable", buckets=_SECONDS)
        self.append_rows = spread("parkpal_append_rows", "Rows of one group, refused ones too", buckets=_ROWS)
        self.append_failures = count("parkpal_append_failures_total", "Groups that the log did not take in time")
        self.held_bytes = gauge("parkpal_held_bytes", "Unfinished ingest work", multiprocess_mode="livesum")
        self.consents_age_seconds = gauge(
            "parkpal_consents_age_seconds",
            "Since the list of devices that may not push was last read",
            multiprocess_mode="livemax",
        )
        newest = partial(gauge, labelnames=["account"], multiprocess_mode="livemostrecent")
        self.waiting_money = newest(
            "parkpal_waiting_money_minor",
            "Money without a place, or on its way back: both come to nothing when providers answer",
        )
        self.waiting_money_age = newest("parkpal_waiting_money_age_seconds", "How long the oldest of it has waited")

    def render(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        if self._multiprocess_dir is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._multiprocess_dir)  # type: ignore[no-untyped-call]  # carries no types
        return generate_latest(registry)
