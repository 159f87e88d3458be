"""Open lake.duckdb with whatever DuckDB is on the path, and use what is in it: `python opened_by.py FILE VERSION`.

Nothing of ParkPal is imported: this is what an analyst with another DuckDB does.
"""

import sys

import duckdb

EXPECTED = '{"type":"Polygon","coordinates":[[[121.0280815,14.5504038],'


def main(file: str, version: str) -> None:
    """Query every view and the macros; fail unless DuckDB is of this version."""
    assert duckdb.__version__.startswith(version), duckdb.__version__
    with duckdb.connect(file, read_only=True) as connection:
        names = [
            name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        ]
        assert "cell_metrics_r9" in names
        rows = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in names}
        cell = connection.execute("SELECT h3_geojson(618845740643385343)").fetchall()[0][0]
        assert cell.startswith(EXPECTED), cell
        undocumented = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL "
            "AND table_name <> 'extents'"
        ).fetchall()
        assert not undocumented, undocumented
    print(f"DuckDB {duckdb.__version__}: {rows}")


if __name__ == "__main__":
    main(*sys.argv[1:])
