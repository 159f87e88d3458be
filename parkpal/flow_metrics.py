"""The metrics of a running dataflow, each declared here with its meaning; served in Prometheus' format beside it.

They are told by the lake and the log themselves, so they hold whatever number of processes there is.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from pipeline.lag import lags
from pipeline.lake.lake import Lake, LakeMissingError
from pipeline.log import LogUnavailableError
from pipeline.log.open import open_log

LOOK_EVERY_S: Final = 10.0

_log: Final = logging.getLogger(__name__)


class FlowMetrics:
    """Looks at a log and a lake."""

    def __init__(self, log_url: str, lake_url: str) -> None:
        self._log_url, self._lake_url = log_url, lake_url
        self.registry = registry = CollectorRegistry()
        labels = ["stream", "partition"]
        self.rows = Gauge(
            "parkpal_lag_rows", "Rows in the log and not in the lake, by the newest commit's", labels, registry=registry
        )
        self.seconds = Gauge(
            "parkpal_lag_seconds", "Since the oldest message not in the lake was appended", labels, registry=registry
        )
        self.available = Gauge("parkpal_log_available", "1 while the log answers, else 0", registry=registry)

    def run(self, ended: threading.Event) -> None:
        """Look again and again until told to end."""
        with closing(open_log(self._log_url)) as log:
            while not ended.is_set():
                try:
                    for lag in lags(log, Lake.open(self._lake_url), exact=False):
                        self.rows.labels(*lag.part).set(lag.rows)
                        self.seconds.labels(*lag.part).set(lag.seconds)
                    self.available.set(1)
                except (LogUnavailableError, LookupError):
                    self.available.set(0)
                except LakeMissingError:
                    pass
                ended.wait(LOOK_EVERY_S)


@contextmanager
def served(log_url: str, lake_url: str, port: int) -> Iterator[int]:
    """Serve the metrics on every address of this machine while the block runs; give the port, a free one for 0."""
    metrics, ended = FlowMetrics(log_url, lake_url), threading.Event()
    server, _ = start_http_server(port, registry=metrics.registry)
    looking = threading.Thread(target=metrics.run, args=(ended,), name="metrics", daemon=True)
    looking.start()
    _log.info("metrics at http://0.0.0.0:%d/metrics", server.server_port)
    try:
        yield server.server_port
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        looking.join(LOOK_EVERY_S)
