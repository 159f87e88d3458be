"""Each notebook runs from top to bottom over a lake that the flow wrote, and every table it shows has rows."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.run import Run, run
from tests.flow.traffic import fill, messages, traffic, write_fences

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    log = f"sqlite://{folder}/log.sqlite"
    fill(log, messages(traffic(seed=3), 4, seed=3), 4)
    run(Run(log, str(folder / "lake"), write_fences(folder / "fences.geojson"), until_end=True))
    return folder / "lake"


def shown(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell; return the value of its last expression, as a notebook shows it."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)  # noqa: S102 - our own notebook
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_rows(notebook: Path, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARKPAL_LAKE", str(lake))
    names: dict[str, Any] = {}
    tables = []
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            table = shown("".join(cell["source"]), names)
            tables += [] if table is None else [table.fetchall()]
    assert tables
    assert all(tables)
