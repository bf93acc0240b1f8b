"""SetCriterion under two processes is that of one on the joined batch, whatever each of them holds."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

import set_scenes as scene
from matchloss.criteria import SetCriterion
from matchloss.types import LossTerms
from set_scenes import ANNOTATIONS, CLASSES, NOTHING, TWO, gradients, leaves
from test_query_sets import denoising, query_set

ONE = {name: values[:1] for name, values in TWO.items()}
BATCHES: dict[str, tuple[list[Any], tuple[slice, slice]]] = {
    "uneven": (ANNOTATIONS, (slice(0, 1), slice(1, 3))),
    "a rank without objects": (ANNOTATIONS, (slice(0, 2), slice(2, 3))),
    "a rank without images": (ANNOTATIONS, (slice(0, 3), slice(3, 3))),
    "one object": ([NOTHING, ONE, NOTHING], (slice(0, 1), slice(1, 3))),
    "no objects": ([NOTHING] * 3, (slice(0, 1), slice(1, 3))),
}
CRITERIA = {
    "detr": SetCriterion.detr(CLASSES),
    "rtdetr": SetCriterion.rtdetr(CLASSES),
    "groups": SetCriterion(CLASSES, groups=2, no_object_weight=0.5),
}


def predictions(name: str) -> tuple[Any, list[Tensor]]:
    """All layers with masks; RT-DETR has denoising queries and further ones with repeated targets too."""
    channels = CLASSES + (name != "rtdetr")
    found = scene.outputs(channels, masks=True, queries=8)
    if name == "rtdetr":
        found["query_sets"] = {"dn": denoising(channels), "many": query_set(channels, repeats=2, weight=0.5)}
    return leaves(found)


def loss_of(name: str, found: Any, batch: str, part: slice) -> LossTerms:
    mine = scene.of_images({key: values for key, values in found.items() if key != "query_sets"}, part)
    if "query_sets" in found:
        sets = found["query_sets"]
        mine["query_sets"] = {
            key: queries._replace(
                **{field: getattr(queries, field)[:, part] for field in ("logits", "boxes")},
                masks=None if queries.masks is None else queries.masks[:, part],
                target_of_query=None if queries.target_of_query is None else queries.target_of_query[part],
                counted=None if queries.counted is None else queries.counted[part],
            )
            for key, queries in sets.items()
        }
    return CRITERIA[name](mine, scene.of_images(scene.targets(BATCHES[batch][0]), part))


def run_rank(rank: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    reduced, all_reduce = [], dist.all_reduce

    def counting(tensor: Tensor) -> None:
        reduced.append(tensor)
        all_reduce(tensor)

    dist.all_reduce = counting
    results = {}
    for batch, (_, parts) in BATCHES.items():
        for name in CRITERIA:
            found, inputs = predictions(name)
            loss = loss_of(name, found, batch, parts[rank])
            assert len(reduced) == 1
            results[batch, name] = (gradients(loss.total, inputs), {key: t.detach() for key, t in loss.terms.items()})
            assert reduced.pop().numel() <= 2 * len(loss.terms)
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()  # a rank that leaves first can take the other's connection with it
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run_rank, args=(folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("batch", BATCHES)
def test_ranks_have_the_gradient_and_the_terms_of_one_process(ranks: list[Any], batch: str, name: str) -> None:
    found, inputs = predictions(name)
    loss = loss_of(name, found, batch, slice(0, 3))
    (first, first_terms), (second, second_terms) = (results[batch, name] for results in ranks)
    # Distributed data parallel averages: each rank's own gradient counts half.
    for grad, one, other in zip(gradients(loss.total, inputs), first, second, strict=True):
        torch.testing.assert_close((one + other) / 2, grad)
    assert first_terms.keys() == second_terms.keys() == loss.terms.keys()
    for key, term in loss.terms.items():
        torch.testing.assert_close((first_terms[key] + second_terms[key]) / 2, term.detach())
