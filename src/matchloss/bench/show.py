"""What is seen while it measures: a bar below, and each row's numbers as soon as they are there."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .plans import Plan
from .result import Result
from .run import measure_all
from .setting import Setting
from .tables import HEADER, block


def show_list(plans: Sequence[Plan]) -> None:
    """A row a line, by groups."""
    for group in dict.fromkeys(plan.group for plan in plans):
        print(f"\n{group}")
        for plan in plans:
            if plan.group == group:
                shown = f"  ({plan.name})" if plan.name not in ("", plan.title) else ""
                print(f"  {plan.title}{shown}")


def show_measuring(plans: Sequence[Plan], setting: Setting, *, compiled: bool) -> list[Result]:
    """Measure and print; the bar goes to the terminal alone."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    print(HEADER)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=len(plans))

        def done(result: Result) -> None:
            print(block(result), flush=True)
            progress.advance(task)

        results = measure_all(
            plans,
            setting,
            compiled=compiled,
            begin=lambda plan: progress.update(task, description=plan.title),
            done=done,
        )
    print(f"\n{summary(results, setting)}")
    return results


def summary(results: Sequence[Result], setting: Setting) -> str:
    """How many aims were hit, whose value is unexpected, and who was left out."""
    aims = [aim for result in results for aim in result["aims"]]
    lines = [f"{len(results)} rows; {sum(aim['hit'] for aim in aims)} of {len(aims)} aims hit"]
    for result in results:
        for name, facts in result["variants"].items():
            if not facts["agrees"] and not facts["differs"]:
                lines.append(f"another value than ours: {name} in {result['title']}")
    if setting.peers.left_out:
        lines.append("left out: " + "; ".join(f"{name} ({why})" for name, why in setting.peers.left_out.items()))
    if not setting.peers.wanted:
        lines.append("no other library was timed; --peers does")
    return "\n".join(lines)
