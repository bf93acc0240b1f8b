"""`matchloss bench`."""

from pathlib import Path
from typing import Annotated

import typer

from matchloss.cli.options import one_of
from matchloss.recipes.errors import RunError


def bench(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Part of a row's name, such as giou; all rows without it.")
    ] = "",
    list_rows: Annotated[bool, typer.Option("--list", help="Only say which rows there are.")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Time other libraries too, those that are there.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Time every row through torch.compile too.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.", callback=one_of("cpu", "cuda"))] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch on the CPU.", show_default="all cores")] = None,
    json: Annotated[Path | None, typer.Option(help="A file for the results.", show_default="none")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small tensors: does it run, not how fast.")] = False,
) -> None:
    """Time losses, assigners and criteria: forward and backward, memory and operators, in turns in one process.

    Best on a quiet machine; all rows take some ten minutes there. Rows with an aim say whether it was hit.
    """
    from matchloss.bench.environment import set_environment

    if not list_rows:
        set_environment()  # before torch allocates anything
    import torch

    from matchloss.bench.peers import Peers
    from matchloss.bench.run import UnknownRowError, choose, set_threads, write_results
    from matchloss.bench.setting import Setting
    from matchloss.bench.show import show_list, show_measuring

    try:
        plans = choose(name)
    except UnknownRowError as error:
        raise RunError(str(error)) from None
    if list_rows:
        show_list(plans)
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: torch sees no CUDA GPU here")
    set_threads(threads)
    setting = Setting(device=device, quick=quick, peers=Peers(wanted=peers))
    results = show_measuring(plans, setting, compiled=compiled)
    if json:
        write_results(json, results, setting)
        print(f"results: {json}")
