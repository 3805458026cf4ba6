"""`python -m gateway.demo MODELS`: trains the demo model into a folder of models, with a bar."""

import sys
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.demo.train import DEMO, ensure_model


def main(models: Path) -> None:
    """Trains it, once."""
    columns = (
        TextColumn("Training the demo model"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("", total=1.0)
        ensure_model(models, DEMO, lambda share, doing: bar.update(task, completed=share, description=doing))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
