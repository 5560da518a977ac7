"""`python -m benchmarks.small --data fdu-mtl.tar.gz --bundle BUNDLE`: measures, and writes the figures.

The bundle must have left the domains out (`python -m training release --leave-out`). Each run is written as it ends;
the same command goes on where it was stopped.
"""

import json
from pathlib import Path
from typing import Any

import click

from benchmarks import machine, results, small
from benchmarks.small import arms
from service.model import bundle
from training.data.fdu_mtl import ProductReviews


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="fdu-mtl.tar.gz")
@click.option("--bundle", "base", type=click.Path(exists=True, path_type=Path), required=True, help="to start from")
@click.option("--domains", default=",".join(small.DOMAINS), show_default=True)
@click.option("--sizes", default=",".join(map(str, small.SIZES)), show_default=True, help="numbers of labelled texts")
@click.option("--seeds", default=",".join(map(str, small.SEEDS)), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=results.FOLDER, help="folder for the results")
def main(data: Path, base: Path, domains: str, sizes: str, seeds: str, out: Path) -> None:
    """Writes OUT/small.json, OUT/small.png and the page of all results."""
    found = bundle.read(base)
    products = ProductReviews(data)
    chosen = domains.split(",")
    if unknown := sorted(set(chosen) - set(products.domains)):
        raise click.ClickException(f"expected domains of {data}, found {', '.join(unknown)}: name some that are there")
    reviews = [review for review in products if review.domain in chosen]
    path = out / "small.json"
    about = {
        "bundle": found.name,
        "left_out": set(chosen) <= set(found.manifest.training.get("left_out", ())),
        "data": products.digest(),
    }
    cells = _begun(path, about)
    done = {(cell["domain"], cell["size"], cell["seed"], cell["arm"]) for cell in cells}
    out.mkdir(parents=True, exist_ok=True)
    for domain in chosen:
        of_domain = [review for review in reviews if review.domain == domain]
        for size in map(int, sizes.split(",")):
            for seed in map(int, seeds.split(",")):
                train, test = arms.drawn(of_domain, size, seed)
                for arm in small.ARMS:
                    if (domain, size, seed, arm) in done:
                        continue
                    cell: small.Cell = {"domain": domain, "size": size, "seed": seed, "arm": arm}
                    cell |= arms.measure(arm, train, test, seed, base)
                    click.echo(f"{domain}, {size:,} texts, seed {seed}, {arm}: {cell['accuracy']:.1%}")
                    cells.append(cell)
                    told = {"texts": f"product reviews of {data.name}", "quick": False}
                    result = {"machine": machine.describe(), **told, "found": about | {"cells": cells}}
                    path.write_text(json.dumps(result, indent=1) + "\n")
    results.write(out)
    click.echo(small.table(json.loads(path.read_text())["found"]))


def _begun(path: Path, about: dict[str, Any]) -> list[small.Cell]:
    """The runs that an interrupted benchmark of the same bundle and data left in `path`."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())["found"]
    cells: list[small.Cell] = found.pop("cells")
    if any(found[name] != about[name] for name in ("bundle", "data")):
        raise click.ClickException(
            f"{path}: expected results of {about['bundle']} on the same data, found those of {found['bundle']}: remove "
            "the file or name another --out"
        )
    return cells


if __name__ == "__main__":
    main()
