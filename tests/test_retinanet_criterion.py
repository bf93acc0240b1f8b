"""RetinaNetCriterion: equal to the sum written out, no box loss of negatives, one process however many run."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

import dense_scenes as scene
import matchloss
from matchloss import losses
from matchloss.assigners import ATSSAssigner, MaxIoUAssigner
from matchloss.criteria import RetinaNetCriterion
from matchloss.geometry import box_giou, decode_deltas, encode_deltas, grid_anchors

SCALES, RATIOS = (1.5, 2.5), (0.5, 1.0)
SHAPES = len(SCALES) * len(RATIOS)
TERMS = ["class_positive", "class_negative", "box"]


def criterion(**options: Any) -> RetinaNetCriterion:
    return RetinaNetCriterion(scene.CLASSES, scene.STRIDES, scales=SCALES, ratios=RATIOS, **options)


def levels(**options: Any) -> list[dict[str, Tensor]]:
    return scene.levels(channels=SHAPES * scene.CLASSES, width=SHAPES * 4, key="deltas", **options)


def rows(outputs: list[dict[str, Tensor]], name: str, width: int) -> Tensor:
    """(B, A, width): cell by cell, the anchors of a cell side by side."""
    parts = []
    for level in outputs:
        maps = level[name]
        for y in range(maps.shape[2]):
            for x in range(maps.shape[3]):
                parts += [maps[:, n * width : (n + 1) * width, y, x] for n in range(SHAPES)]
    return torch.stack(parts, 1)


def anchors() -> Tensor:
    return grid_anchors([(6, 8), (3, 4)], scene.STRIDES, scales=SCALES, ratios=RATIOS).double()


@pytest.mark.parametrize("boxes", ["deltas", "giou"])
def test_equals_the_terms_written_out(boxes: str) -> None:
    outputs = levels()
    targets = scene.targets()._replace(weights=torch.tensor([[2.0, 1, 1], [0.5, 3, 1], [1, 1, 1]]).double())
    box_loss = losses.SmoothL1Loss(beta=1 / 9) if boxes == "deltas" else losses.GIoULoss()
    got = criterion(box_loss=box_loss, box_weight=2.0, class_weight=0.5)(outputs, targets)
    assignment = MaxIoUAssigner()(anchors(), targets)
    logits, deltas = rows(outputs, "logits", scene.CLASSES), rows(outputs, "deltas", 4)
    sums = dict.fromkeys(TERMS, 0.0)
    for image, anchor in torch.cartesian_prod(torch.arange(3), torch.arange(len(anchors()))).tolist():
        if assignment.ignore[image, anchor]:
            continue
        label, index = int(assignment.labels[image, anchor]), int(assignment.target_index[image, anchor])
        one = losses.sigmoid_focal_loss(logits[image, anchor][None], torch.tensor([label]), reduction="sum").item()
        if index < 0:
            sums["class_negative"] += 0.5 * one
            continue
        weight = targets.weights[image, index].item()
        sums["class_positive"] += 0.5 * weight * one
        delta, target = deltas[image, anchor], targets.boxes[image, index]
        if boxes == "deltas":
            wanted = encode_deltas(target, anchors()[anchor])
            value = torch.nn.functional.smooth_l1_loss(delta, wanted, beta=1 / 9, reduction="sum")
        else:
            value = 1 - box_giou(decode_deltas(delta, anchors()[anchor]), target)
        sums["box"] += 2 * weight * value.item()
    positives = (assignment.target_index >= 0).sum().item()
    assert positives > 3
    assert got.stats["positives"] == positives
    assert got.stats["ignored"] == assignment.ignore.sum() > 0
    for name in TERMS:
        assert got.terms[name].item() == pytest.approx(sums[name] / positives, rel=1e-6), name


def test_only_positives_learn_boxes() -> None:
    outputs = scene.leaves(levels())
    gradients = scene.gradients(criterion()(outputs, scene.targets()).total, outputs)
    learnt = rows([{"deltas": gradients[1]}, {"deltas": gradients[3]}], "deltas", 4).abs().sum(-1) > 0
    assert torch.equal(learnt, MaxIoUAssigner()(anchors(), scene.targets()).target_index >= 0)


def test_batch_without_objects_has_loss_from_negatives_only() -> None:
    some, outputs = criterion()(levels(), scene.targets()), scene.leaves(levels())
    none = criterion()(outputs, [scene.NOTHING] * 3)
    assert list(none.terms) == list(some.terms) == TERMS
    assert list(none.stats) == list(some.stats)
    assert none.total == none.terms["class_negative"] > 0
    assert all(grad.isfinite().all() for grad in scene.gradients(none.total, outputs))


def test_flattened_outputs_agree() -> None:
    outputs, targets = levels(), scene.targets()
    flat = {"logits": rows(outputs, "logits", scene.CLASSES), "deltas": rows(outputs, "deltas", 4)}
    wanted = criterion()(outputs, targets).total
    torch.testing.assert_close(criterion()(flat, targets).total, wanted)
    sizes = {**flat, "sizes": [(6, 8), (3, 4)]}
    torch.testing.assert_close(criterion()(sizes, scene.ANNOTATIONS).total, wanted)
    with pytest.raises(ValueError, match="RetinaNetCriterion: expected sizes"):
        criterion()(flat, scene.ANNOTATIONS)


@pytest.mark.parametrize("assigner", [MaxIoUAssigner(), ATSSAssigner()])
@pytest.mark.parametrize("box_loss", [losses.L1Loss(), losses.CIoULoss()])
def test_all_rows_or_the_positives_alone_are_one_loss(assigner: Any, box_loss: Any) -> None:
    outputs, targets = scene.leaves(levels()), scene.targets()
    judge = criterion(assigner=assigner, box_loss=box_loss)
    got = judge(outputs, targets)
    with matchloss.reference():
        wanted = judge(outputs, targets)
        wanted_gradients = scene.gradients(wanted.total, outputs)
    scene.assert_reads_nothing_on_the_host(judge, outputs, targets)
    torch.testing.assert_close(got, wanted)
    for grad, other in zip(scene.gradients(got.total, outputs), wanted_gradients, strict=True):
        torch.testing.assert_close(grad, other)


def test_traces_in_one_graph() -> None:
    outputs, targets = scene.leaves(levels()), scene.targets()
    compiled = torch.compile(criterion(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(outputs, targets).total, criterion()(outputs, targets).total)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_extreme_outputs_stay_finite(dtype: torch.dtype) -> None:
    for scale in (1.0, 100.0):
        outputs = scene.leaves([{n: scale * m for n, m in level.items()} for level in levels()], dtype)
        for box_loss in (None, losses.GIoULoss()):
            with torch.autocast("cpu", dtype=dtype):
                loss = criterion(box_loss=box_loss)(outputs, scene.targets(dtype=torch.float32))
            assert loss.total.dtype == torch.float32
            assert loss.total.isfinite()
            assert all(grad.isfinite().all() for grad in scene.gradients(loss.total, outputs))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (scene.levels(channels=9, width=16, key="deltas"), "a multiple of 4 channels, got 9"),
        (scene.levels(channels=8, width=16, key="deltas"), "3 logits and 4 deltas an anchor, got 2 and 4"),
        (scene.levels(channels=12, width=16, key="deltas", batch=2), "targets of 2 images, got 3"),
        (scene.levels(channels=12, width=16, key="deltas")[:1], "2 levels, one a stride, got 1"),
    ],
)
def test_errors_are_one_clear_sentence(outputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match="RetinaNetCriterion: expected .*" + message):
        criterion()(outputs, scene.targets())


PARTS = ((slice(0, 2), slice(2, 3)), (slice(0, 1), slice(1, 3)))  # the first leaves a rank without objects


def run_rank(rank: int, folder: Path, part: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    mine = PARTS[part][rank]
    outputs = scene.leaves(scene.of_images(levels(), mine))
    loss = criterion()(outputs, scene.targets(scene.ANNOTATIONS[mine]))
    torch.save((scene.gradients(loss.total, outputs), loss.total.detach()), folder / f"{rank}.pt")
    torch.distributed.barrier()  # a rank that leaves first can take the other's connection with it
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("part", range(len(PARTS)))
def test_two_processes_have_the_gradient_of_one(tmp_path: Path, part: int) -> None:
    outputs = scene.leaves(levels())
    loss = criterion()(outputs, scene.targets())
    mp.spawn(run_rank, args=(tmp_path, part), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for number, wanted in enumerate(scene.gradients(loss.total, outputs)):
        torch.testing.assert_close(torch.cat([grads[number] for grads, _ in ranks]) / 2, wanted)
    torch.testing.assert_close(sum(total for _, total in ranks) / 2, loss.total)
