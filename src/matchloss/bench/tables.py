"""The measurements as aligned text."""

from collections.abc import Mapping
from typing import Any

WIDTH = 34
HEADER = (
    f"{'':{WIDTH}}{'forward':>10}{'+ backward':>12}{'IQR':>9}{'times ours':>12}{'peak':>12}{'operators':>11}"
    f"\n{'':{WIDTH}}{'ms':>10}{'ms':>12}{'ms':>9}{'':>12}{'MiB':>12}"
)


def block(result: Mapping[str, Any]) -> str:
    """One row: who took how long, and the aims below."""
    lines = [f"\n{result['title']}: {result['size']}, {result['dtype']}"]
    lines += [_line(name, facts) for name, facts in result["variants"].items()]
    for aim in result["aims"]:
        lines.append(f"  {'hit   ' if aim['hit'] else 'MISSED'} {aim['aim']}: {aim['measured']:g}")
    return "\n".join(lines)


def _line(name: str, facts: Mapping[str, Any]) -> str:
    whole, forward = facts["milliseconds"], facts["forward_milliseconds"]
    operators = "" if facts["operators"] is None else facts["operators"]
    backward = "" if facts["tensors_beside_gradient"] is None else f"{whole['median']:.2f}"
    line = (
        f"  {name:{WIDTH - 2}}{forward['median']:10.2f}{backward:>12}{whole['iqr']:9.2f}"
        f"{facts['times_ours']:11.2f}x{facts['peak_mib']:12.1f}{operators:>11}"
    )
    if (graph := facts.get("graph_milliseconds")) is not None:
        line += f"  {graph['median']:.3f} ms in a graph"
    return line + (f"  another value: {facts['differs'] or 'NOT EXPECTED'}" if not facts["agrees"] else "")
