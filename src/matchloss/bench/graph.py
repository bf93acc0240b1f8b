"""Time on a GPU alone: forward and backward recorded in a CUDA graph and played again, without Python between."""

import warnings

import torch
from torch import Tensor

from .measure import Clock, Timing, run, timing
from .rows import Loss

WARM_UP = 3


def waits_for_host(loss: Loss, leaf: Tensor | None) -> str:
    """What makes the host wait, in the words of torch's own check; empty if nothing does."""
    try:
        torch.cuda.set_sync_debug_mode("error")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(loss, leaf)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def time_replay(loss: Loss, leaf: Tensor | None, clock: Clock, *, rounds: int) -> Timing:
    """Median of the replays, each with a cold cache.

    Raises:
        RuntimeError: where it cannot be captured.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run(loss, leaf)
    torch.cuda.current_stream().wait_stream(stream)
    if leaf is not None:
        leaf.grad = None  # or the graph would add to a gradient outside of its memory
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss()
        if leaf is not None:
            value.backward()  # type: ignore[no-untyped-call]
    times = []
    for _ in range(rounds):
        clock.start()
        graph.replay()
        clock.lap()
        times += clock.milliseconds()
    if leaf is not None:
        leaf.grad = None  # it lies in the graph's memory, which goes with the graph
    return timing(times)
