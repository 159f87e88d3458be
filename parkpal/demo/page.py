"""The demo's last page: what was found, asked as a customer and as an analyst would ask, and where everything lies."""

from pathlib import Path
from typing import Any, Final

import duckdb
import httpx
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from parkpal.demo.day import Step
from pipeline.lake.vanished import forgiven

TOP: Final = 8
COUNTS: Final = """
SELECT 'positions' AS what, count(*) AS rows FROM '{positions}'
UNION ALL SELECT 'positions, late', count(*) FILTER (late) FROM '{positions}'
UNION ALL SELECT 'phones', count(DISTINCT device_id) FROM '{positions}'
UNION ALL (SELECT 'rejected: ' || reason, count(*) FROM '{rejected}' GROUP BY reason ORDER BY reason)
UNION ALL (SELECT 'fence events: ' || kind, count(*) FROM '{geofence_events}' GROUP BY kind ORDER BY kind)
UNION ALL (SELECT 'trips: ' || outcome, count(*) FROM '{trips}' GROUP BY outcome ORDER BY outcome)
UNION ALL SELECT 'trips with a search of a minute or more', count(*) FROM '{trips}' WHERE search_s >= 60
"""
FENCE: Final = """
SELECT fence_id, strftime(time_bucket(INTERVAL 10 minutes, event_time), '%H:%M') AS utc,
       count(*) FILTER (kind = 'enter') AS entries, count(*) FILTER (kind = 'exit') AS exits
FROM '{geofence_events}'
WHERE fence_id = (SELECT fence_id FROM '{geofence_events}' WHERE kind = 'enter'
                  GROUP BY fence_id ORDER BY count(*) DESC, fence_id LIMIT 1)
GROUP BY ALL ORDER BY utc
"""
QUERIES: Final = (
    """-- How long do phones stay in each fence?
SELECT fence_id, count(*) AS visits, round(median(dwell_s)) AS median_s
FROM '{geofence_events}' WHERE kind = 'exit' GROUP BY fence_id ORDER BY visits DESC LIMIT 10;""",
    """-- How late do positions arrive?
SELECT quantile_cont(epoch(receive_time - event_time), [0.5, 0.9, 0.99]) AS seconds FROM '{positions}';""",
    """-- What was refused, and what did it look like?
SELECT reason, detail, count(*) AS rows, substr(any_value(payload)::VARCHAR, 1, 80) AS example
FROM '{rejected}' GROUP BY reason, detail ORDER BY rows DESC LIMIT 10;""",
)


class Lake:
    """The lake's folder, read as anybody would: by DuckDB and a glob."""

    def __init__(self, folder: Path) -> None:
        """Read the lake in `folder`, once there is one."""
        names = ("positions", "rejected", "geofence_events", "trips")
        self._globs = {name: f"{folder}/{name}/**/*.parquet" for name in names}
        self._duckdb = duckdb.connect()
        self._duckdb.execute("SET TimeZone = 'UTC'")

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Answer a query in which tables stand in braces."""
        return self._duckdb.execute(self.fill(text)).fetchall()

    def fill(self, text: str) -> str:
        """Put the real paths into a query."""
        return text.format(**self._globs)

    def rows(self) -> int:
        """Return how many rows of the log the lake shows by now; 0 before there is a lake."""
        with forgiven():
            return int(
                self.query("SELECT (SELECT count(*) FROM '{positions}') + (SELECT count(*) FROM '{rejected}')")[0][0]
            )
        return 0


def print_day(console: Console, steps: list[Step]) -> None:
    """Print what happened on a driver's day."""
    _print_table(console, "A driver's day", ("who", "what", "outcome"), [tuple(step) for step in steps])


def print_page(console: Console, lake: Lake, client: httpx.Client, key: Path, folder: Path) -> None:
    """Print the page; `client` talks to the running API."""
    console.rule("ParkPal: one city hour")
    _print_table(console, "In the lake", ("what", "rows"), lake.query(COUNTS))
    cells = _top_cells(client, key)
    _print_table(
        console, "Busiest cells, as the API answers", ("H3 cell", "from", "minutes", "devices", "presences"), cells
    )
    _print_table(console, "Entries and exits of one fence", ("fence", "UTC", "entries", "exits"), lake.query(FENCE))
    console.print("To paste into DuckDB:\n", style="bold")
    for text in QUERIES:
        lake.query(text)  # what is printed to be pasted has just worked
        console.print(Syntax(lake.fill(text), "sql", background_color="default"), soft_wrap=True)
        console.print()
    url = str(client.base_url).rstrip("/")
    console.print(f"Dashboard   {url}/dashboard#key={key.read_text('utf-8').strip()}", soft_wrap=True)
    console.print(f"API         {url} (pages at {url}/schema, document at {url}/schema/openapi.json)", soft_wrap=True)
    console.print(f"Its key     {key} (sent as: Authorization: Bearer ...)", soft_wrap=True)
    console.print(f"Everything  {folder} (remove it to begin anew)", soft_wrap=True)
    console.rule()


def _print_table(console: Console, title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = Table(*columns, title=title, title_justify="left", title_style="bold", box=None)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    console.print(table, "")


def _top_cells(client: httpx.Client, key: Path) -> list[tuple[Any, ...]]:
    headers = {"authorization": f"Bearer {key.read_text('utf-8').strip()}"}
    answer = client.get("/v1/analytics/cells", headers=headers)
    answer.raise_for_status()
    bins = sorted(answer.json()["cells"], key=lambda one: -one["presences"])
    return [(one["cell"], one["bin_start"], one["bin_s"] // 60, one["devices"], one["presences"]) for one in bins[:TOP]]
