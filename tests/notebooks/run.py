"""Run notebooks from top to bottom over a lake and keep their pictures: `python -m tests.notebooks.run LAKE FOLDER`.

A notebook's cells are plain Python, so they need no Jupyter to run: one after the other, in one namespace.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def run_notebook(notebook: Path, lake: Path, folder: Path) -> list[Path]:
    """Run a notebook over the lake; return the pictures it drew, written to `folder` in order."""
    mpl.use("agg")
    os.environ["PARKPAL_LAKE"] = str(lake)
    names: dict[str, Any] = {}
    pictures = []
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook.name}:{cell['id']}", "exec"), names)  # noqa: S102 - ours
            for number in plt.get_fignums():
                pictures.append(folder / f"{notebook.stem}-{len(pictures) + 1}.png")
                plt.figure(number).savefig(pictures[-1])
                plt.close(number)
    names.clear()  # with it the connection
    return pictures


if __name__ == "__main__":
    for notebook in NOTEBOOKS:
        drawn = run_notebook(notebook, Path(sys.argv[1]), Path(sys.argv[2]))
        assert drawn, f"{notebook.name} draws no picture"
        print(f"{notebook.name}: {len(drawn)} pictures")
