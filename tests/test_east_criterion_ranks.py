"""EASTCriterion and DBCriterion under two processes are those of one on the joined batch, whatever each rank holds."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

import text_scenes as scene
from matchloss.criteria import DBCriterion, EASTCriterion
from matchloss.types import LossTerms

ALL = {"score_weight": 0.5, "dice_weight": 3.0}
EAST = {
    "paper": EASTCriterion.paper(),
    "argman": EASTCriterion.argman(),
    "sakura": EASTCriterion.sakura(),
    "squared, as the paper": EASTCriterion(**ALL, dice_form="squared", dice_smooth=1.0, empty="paper"),
    "corners": EASTCriterion(**ALL),
}
# With every negative chosen, the choice of each rank by itself is that of one process.
CRITERIA = {**EAST, "db": DBCriterion(min_negatives=1000, smooth=1.0)}
PARTS = {
    "uneven": (slice(0, 1), slice(1, 3)),
    "a rank without text": (slice(0, 2), slice(2, 3)),
    "a rank without images": (slice(0, 3), slice(3, 3)),
    "no text": (slice(0, 1), slice(1, 3)),
    "nothing valid": (slice(0, 1), slice(1, 3)),
}


def leaves(name: str) -> list[Tensor]:
    if name == "db":
        return scene.leaves(list(scene.db_outputs().values()))
    return scene.outputs(8 if name == "corners" else 5, requires_grad=True)


def loss_of(name: str, found: list[Tensor], batch: str, part: slice) -> LossTerms:
    maps: Any = scene.db_maps() if name == "db" else scene.maps(8 if name == "corners" else 5)
    if batch == "no text":
        maps = scene.without_text(maps)
    if batch == "nothing valid":
        maps = maps._replace(mask=torch.zeros_like(maps.mask))
    maps, mine = scene.of_images(maps, part), [values[part] for values in found]
    if name == "db":
        return CRITERIA[name](dict(zip(("score", "threshold"), mine, strict=True)), maps)
    return CRITERIA[name](*mine, maps)


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
    for batch, parts in PARTS.items():
        for name in CRITERIA:
            found = leaves(name)
            loss = loss_of(name, found, batch, parts[rank])
            assert len(reduced) == 1
            results[batch, name] = (scene.gradients(loss, found), {key: t.detach() for key, t in loss.terms.items()})
            # Backward crosses ranks for Dice alone, and on both or on neither.
            assert len(reduced) == 1 + bool({"dice", "binary"} & set(loss.terms))
            reduced.clear()
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()  # a rank that leaves first can take the other's connection with it
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run_rank, args=(folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("batch", PARTS)
def test_ranks_have_the_gradient_and_the_terms_of_one_process(ranks: list[Any], batch: str, name: str) -> None:
    found = leaves(name)
    loss = loss_of(name, found, batch, slice(0, 3))
    (first, first_terms), (second, second_terms) = (results[batch, name] for results in ranks)
    # Distributed data parallel averages: each rank's own gradient counts half.
    for grad, one, other in zip(scene.gradients(loss, found), first, second, strict=True):
        torch.testing.assert_close((one + other) / 2, grad)
    assert first_terms.keys() == second_terms.keys() == loss.terms.keys()
    for key, term in loss.terms.items():
        torch.testing.assert_close((first_terms[key] + second_terms[key]) / 2, term.detach())
