"""TaskAlignedCriterion: equal to the sum written out, right without objects, one process however many run."""

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

import dense_scenes as scene
import matchloss
from matchloss import losses
from matchloss.assigners import ATSSAssigner, MaxIoUAssigner, SimOTAAssigner, TaskAlignedAssigner
from matchloss.criteria import TaskAlignedCriterion
from matchloss.geometry import grid_points
from matchloss.types import Assignment, Targets
from reference import dense as reference

TERMS = ["class_positive", "class_negative", "box", "dfl"]
PRESETS = {
    "tood": (TaskAlignedCriterion.tood, reference.quality_focal, reference.giou, (1.0, 2.0, None)),
    "ppyoloe": (TaskAlignedCriterion.ppyoloe, reference.varifocal, reference.giou, (1.0, 2.5, 0.5)),
    "yolov8": (TaskAlignedCriterion.yolov8, reference.bce, reference.ciou, (0.5, 7.5, 1.5)),
}


def yolov8() -> TaskAlignedCriterion:
    return TaskAlignedCriterion.yolov8(scene.CLASSES, scene.STRIDES)


def fixed_assignment(*_: Any, **__: Any) -> Assignment:
    """Two positives of image 0's car, two objects of image 1, an ignored point, nothing in image 2."""
    index = torch.full((3, 60), -1)
    index[0, 8], index[0, 9], index[1, 2], index[1, 55] = 0, 0, 0, 1
    labels = torch.where(index < 0, -1, torch.stack([torch.ones(60), torch.zeros(60), torch.zeros(60)]).long())
    labels[1, 55] = 2
    scores = torch.zeros(3, 60, dtype=torch.float64)
    scores[0, 8], scores[0, 9], scores[1, 2], scores[1, 55] = 0.9, 0.4, 0.0, 0.7
    ignore = torch.zeros(3, 60, dtype=torch.bool)
    ignore[1, 20] = True
    return Assignment(index, labels, scores, ignore)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_equal_the_terms_written_out(name: str) -> None:
    make, class_term, box_term, (class_weight, box_weight, dfl_weight) = PRESETS[name]
    criterion = make(scene.CLASSES, scene.STRIDES)
    if dfl_weight is None:  # a fixed DFL would be left out: give TOOD distributions all the same
        assert criterion.dfl_weight is None
    criterion.assigner = fixed_assignment
    targets = scene.targets()._replace(weights=torch.tensor([[1.0, 1, 1], [0.5, 2, 1], [1, 1, 1]]).double())
    outputs = scene.levels()
    got = criterion(outputs, targets)
    flat = {key: rows.numpy() for key, rows in scene.flattened(outputs).items()}
    points = grid_points([(6, 8), (3, 4)], scene.STRIDES, dtype=torch.float64)
    assignment = Assignment(*(field.numpy() for field in fixed_assignment()))
    sums, total = reference.task_aligned_terms(
        flat["logits"],
        flat["distances"],
        points.centers.numpy(),
        points.strides.numpy(),
        assignment,
        targets.boxes.numpy(),
        targets.weights.numpy(),
        class_term=class_term,
        box_term=box_term,
        scores=assignment.scores,
    )
    assert total == pytest.approx(2.0)
    weights = {"class_positive": class_weight, "class_negative": class_weight, "box": box_weight, "dfl": dfl_weight}
    wanted = {key: weights[key] * value / total for key, value in sums.items() if weights[key] is not None}
    assert list(got.terms) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(got.terms[key].item(), value, rtol=1e-6, err_msg=key)
    np.testing.assert_allclose(got.total.item(), sum(wanted.values()), rtol=1e-6)


def test_plain_losses_on_hard_labels_are_the_textbook() -> None:
    """Cross entropy with a background class, and smooth L1 of the four coordinates in cells, over the positives."""
    criterion = TaskAlignedCriterion(
        scene.CLASSES,
        scene.STRIDES,
        assigner=fixed_assignment,
        class_loss=losses.CrossEntropyLoss(),
        box_loss=losses.SmoothL1Loss(),
        scores="hard",
        box_weight=1.0,
        dfl_weight=None,
    )
    outputs = scene.levels(channels=scene.CLASSES + 1, width=4)
    got = criterion(outputs, scene.targets())
    flat = scene.flattened(outputs)
    assignment = fixed_assignment()
    labels = torch.where(assignment.labels < 0, scene.CLASSES, assignment.labels)
    rows = torch.nn.functional.cross_entropy(flat["logits"].mT, labels, reduction="none")
    positive, background = assignment.target_index >= 0, (assignment.target_index < 0) & ~assignment.ignore
    torch.testing.assert_close(got.terms["class_positive"], rows[positive].sum() / 4)
    torch.testing.assert_close(got.terms["class_negative"], rows[background].sum() / 4)
    points = grid_points([(6, 8), (3, 4)], scene.STRIDES, dtype=torch.float64)
    centers, cells = (points.centers / points.strides[:, None]).expand(3, 60, 2), points.strides.expand(3, 60)
    boxes = torch.cat([centers - flat["distances"][..., :2], centers + flat["distances"][..., 2:]], -1)[positive]
    matched = scene.targets().boxes[[0, 0, 1, 1], [0, 0, 0, 1]] / cells[positive][:, None]
    wanted = torch.nn.functional.smooth_l1_loss(boxes, matched, reduction="sum") / 4
    torch.testing.assert_close(got.terms["box"], wanted)
    assert list(got.terms) == TERMS[:3]


def test_three_predictions_by_hand() -> None:
    """A car (score 0.9, IoU 0.6), C car (0.2, 0.1), B person (0.3, 0.4): docs/task_aligned.md does the sums."""
    street = [{"boxes": torch.tensor([[0.0, 0, 200, 100], [200, 0, 300, 100]]), "labels": torch.tensor([0, 1])}]
    probabilities = torch.tensor([[0.9, 0.2, 0.1], [0.05, 0.1, 0.3]])
    distances = torch.tensor([[0.5, 0.1, 0.2], [0.5, 0.5, 0.5], [0.7, 0.1, 0.2], [0.5, 0.5, 0.5]])
    level = {"logits": probabilities.logit().view(1, 2, 1, 3), "distances": distances.view(1, 4, 1, 3)}
    plain = TaskAlignedCriterion(
        2,
        [100],
        assigner=TaskAlignedAssigner(topk=1, min_overlap=0.5),
        box_loss=losses.SmoothL1Loss(),
        scores="hard",
        box_weight=1.0,
        dfl_weight=None,
    )
    assert plain.match([level], street).assignment.target_index.tolist() == [[0, -1, -1]]
    terms = plain([level], street).terms
    assert terms["class_positive"].item() == pytest.approx(-math.log(0.9 * 0.95), rel=1e-5)
    assert terms["class_negative"].item() == pytest.approx(-math.log(0.8 * 0.9 * 0.9 * 0.7), rel=1e-5)
    assert terms["box"].item() == pytest.approx(0.8**2 / 2, rel=1e-5)
    soft = TaskAlignedCriterion(2, [100], box_loss=losses.GIoULoss(), box_weight=1.0, dfl_weight=None)
    assigned = soft.match([level], street).assignment
    assert assigned.target_index.tolist() == [[0, 0, 1]]
    assert assigned.scores[0].tolist() == pytest.approx([0.6, 0.2 * 0.1**6 / (0.9 * 0.6**6) * 0.6, 0.4], rel=1e-4)
    terms = soft([level], street).terms
    asked = ((0.9, 0.6), (0.05, 0.0), (0.2, 0.0), (0.1, 0.0), (0.3, 0.4), (0.1, 0.0))
    cost = -sum(t * math.log(p) + (1 - t) * math.log(1 - p) for p, t in asked)
    assert terms["class_positive"].item() == pytest.approx(cost, rel=1e-4)
    assert terms["class_negative"] == 0
    assert terms["box"].item() == pytest.approx(0.6 * 0.4 + 0.4 * 0.6, rel=1e-4)


@pytest.mark.parametrize("make", [entry[0] for entry in PRESETS.values()], ids=list(PRESETS))
def test_negatives_have_no_box_loss_and_ignored_points_none_at_all(make: Any) -> None:
    criterion = make(scene.CLASSES, scene.STRIDES)
    criterion.assigner = fixed_assignment
    outputs = scene.leaves(scene.levels())
    gradients = scene.gradients(criterion(outputs, scene.targets()).total, outputs)
    logits, sides = (torch.cat([part.flatten(2).mT for part in gradients[start::2]], 1) for start in (0, 1))
    assignment = fixed_assignment()
    trained = (assignment.target_index >= 0) & (assignment.scores > 0)
    assert torch.equal(sides.abs().sum(-1) > 0, trained)
    assert torch.equal((logits.abs().sum(-1) > 0), ~assignment.ignore)


@pytest.mark.parametrize("assigner", [None, ATSSAssigner(), MaxIoUAssigner(), SimOTAAssigner()])
def test_batch_without_objects_has_loss_from_negatives_only(assigner: Any) -> None:
    criterion = TaskAlignedCriterion(scene.CLASSES, scene.STRIDES, assigner=assigner)
    some = criterion(scene.levels(), scene.targets())
    outputs = scene.leaves(scene.levels())
    none = criterion(outputs, [scene.NOTHING] * 3)
    assert list(none.terms) == list(some.terms) == TERMS
    assert list(none.stats) == list(some.stats)
    assert none.terms["class_negative"] > 0
    assert none.total == none.terms["class_negative"]
    logits, distances, coarse_logits, coarse_distances = scene.gradients(none.total, outputs)
    for grad in (logits, coarse_logits):
        assert grad.isfinite().all()
        assert grad.any()
    assert not distances.any()
    assert not coarse_distances.any()


def test_points_in_a_crowd_do_not_learn_background() -> None:
    outputs = scene.leaves(scene.levels())
    crowd = [scene.NOTHING, {**scene.CAR, "iscrowd": torch.tensor([True])}, scene.NOTHING]
    logits, _, coarse, _ = scene.gradients(yolov8()(outputs, scene.targets(crowd)).total, outputs)
    inside = torch.zeros(6, 8, dtype=torch.bool)
    inside[1:2, 1:3] = inside[0, 0] = False
    for maps, stride in ((logits, 8), (coarse, 16)):
        y, x = ((torch.arange(count) + 0.5) * stride for count in maps.shape[2:])
        inside = ((y > 4) & (y < 20))[:, None] & ((x > 4) & (x < 28))
        assert inside.any()
        assert torch.equal(maps[1].abs().sum(0) == 0, inside)
        assert (maps[0].abs().sum(0) > 0).all()


def test_weights_of_targets_multiply_their_terms() -> None:
    targets, outputs = scene.targets([scene.CAR, scene.NOTHING, scene.NOTHING]), scene.levels()
    once = yolov8()(outputs, targets)
    thrice = yolov8()(outputs, targets._replace(weights=3 * targets.weights))
    none = yolov8()(outputs, targets._replace(weights=0 * targets.weights))
    for name in TERMS:
        factor = 1 if name == "class_negative" else 3
        torch.testing.assert_close(thrice.terms[name], factor * once.terms[name])
        assert once.terms[name] > 0
        assert (none.terms[name] == 0) == (name != "class_negative")


def test_forms_of_input_agree() -> None:
    outputs, targets = scene.levels(), scene.targets()
    wanted = yolov8()(outputs, targets).total
    flat = scene.flattened(outputs)
    assert yolov8()(flat, targets).total == wanted  # sizes follow from image_size
    assert yolov8()({**flat, "sizes": [(6, 8), (3, 4)]}, targets._replace(image_size=None)).total == wanted
    torch.testing.assert_close(yolov8()(outputs, scene.ANNOTATIONS).total, wanted)
    x1, y1, x2, y2 = targets.boxes.unbind(-1)
    width, height = scene.SIZE[1], scene.SIZE[0]
    fractions = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    centers = targets._replace(boxes=torch.stack(fractions, -1), box_format="cxcywh", normalized=True)
    torch.testing.assert_close(yolov8()(outputs, centers).total, wanted)


def test_padding_and_order_of_images_do_not_matter() -> None:
    outputs, targets = scene.levels(), scene.targets()
    wanted = yolov8()(outputs, targets).total
    more = Targets.from_list([{**scene.CROWD, "boxes": scene.CROWD["boxes"].double()}] * 2)
    padded = targets._replace(
        **{
            name: torch.cat([getattr(targets, name), 0 * getattr(targets, name)[:, :2]], 1)
            for name in ("labels", "boxes", "weights")
        },
        valid=torch.cat([targets.valid, targets.valid[:, :2] & False], 1),
        ignore=torch.cat([targets.ignore, targets.ignore[:, :2] & False], 1),
    )
    assert more.boxes.shape[1] == 3
    torch.testing.assert_close(yolov8()(outputs, padded).total, wanted)
    order = torch.tensor([2, 0, 1])
    shuffled = [{name: maps[order] for name, maps in level.items()} for level in outputs]
    moved = targets._replace(
        **{n: getattr(targets, n)[order] for n in ("labels", "boxes", "valid", "ignore", "weights")}
    )
    torch.testing.assert_close(yolov8()(shuffled, moved).total, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_extreme_outputs_stay_finite(dtype: torch.dtype) -> None:
    for scale in (1.0, 100.0):
        outputs = scene.leaves([{n: scale * m for n, m in level.items()} for level in scene.levels()], dtype)
        with torch.autocast("cpu", dtype=dtype):
            loss = yolov8()(outputs, scene.targets(dtype=torch.float32))
        assert loss.total.dtype == torch.float32
        assert loss.total.isfinite()
        assert all(grad.isfinite().all() for grad in scene.gradients(loss.total, outputs))


def test_a_non_finite_prediction_is_seen_but_crashes_nothing() -> None:
    outputs = scene.levels()
    outputs[0]["logits"][2, 0, 0, 0] = float("nan")  # background of the image without objects
    assert not yolov8()(outputs, scene.targets()).total.isfinite()
    outputs = scene.leaves(scene.levels())
    with torch.no_grad():
        outputs[0]["distances"][2] = float("inf")  # of negatives, which nobody reads
    for path in (contextlib.nullcontext(), matchloss.reference()):  # the second compares all rows, as a GPU does
        with path:
            loss = yolov8()(outputs, scene.targets())
            assert loss.total.isfinite()
            assert all(grad.isfinite().all() for grad in scene.gradients(loss.total, outputs))


CHOICES = {
    "bce": {},
    "iou scores": {"scores": "iou", "class_loss": losses.VarifocalLoss()},
    "all rows": {"coordinate_loss": losses.SmoothL1Loss(), "box_loss": losses.EIoULoss(), "weigh_boxes": False},
    "focal": {"class_loss": losses.SigmoidFocalLoss(), "scores": "hard", "box_loss": losses.L2Loss()},
    "atss": {"assigner": ATSSAssigner(min_points=1), "class_loss": losses.QualityFocalLoss(), "scores": "iou"},
    "simota": {"assigner": SimOTAAssigner(), "box_loss": losses.IoULoss(mode="log")},
    "max-iou": {"assigner": MaxIoUAssigner(), "box_loss": losses.SIoULoss()},
}


@pytest.mark.parametrize("options", CHOICES.values(), ids=CHOICES)
def test_all_rows_or_the_positives_alone_are_one_loss(options: dict[str, Any]) -> None:
    """What a GPU and a compiler run is what the CPU runs, and reads no data on the host."""
    criterion = TaskAlignedCriterion(scene.CLASSES, scene.STRIDES, **options)
    outputs, targets = scene.leaves(scene.levels()), scene.targets()
    got = criterion(outputs, targets)
    with matchloss.reference():
        wanted = criterion(outputs, targets)
        wanted_gradients = scene.gradients(wanted.total, outputs)
    scene.assert_reads_nothing_on_the_host(criterion, outputs, targets)
    assert got.stats["positives"] > 0
    for name, term in wanted.terms.items():
        torch.testing.assert_close(got.terms[name], term)
    for name, value in wanted.stats.items():
        torch.testing.assert_close(got.stats[name], value)
    for grad, other in zip(scene.gradients(got.total, outputs), wanted_gradients, strict=True):
        torch.testing.assert_close(grad, other)


def test_traces_in_one_graph() -> None:
    criterion = yolov8()
    outputs, targets = scene.leaves(scene.levels(), torch.float32), scene.targets(dtype=torch.float32)
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    wanted, got = criterion(outputs, targets), compiled(outputs, targets)
    torch.testing.assert_close(got.total, wanted.total)
    for grad, other in zip(scene.gradients(got.total, outputs), scene.gradients(wanted.total, outputs), strict=True):
        torch.testing.assert_close(grad, other)


def test_gradient_equals_finite_differences() -> None:
    criterion = TaskAlignedCriterion(
        scene.CLASSES, scene.STRIDES, assigner=fixed_assignment, box_loss=losses.GIoULoss(), scores="hard"
    )
    outputs = [m.requires_grad_() for level in scene.levels() for m in level.values()]

    def total(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        maps = [{"logits": a, "distances": b}, {"logits": c, "distances": d}]
        return criterion(maps, scene.targets()).total

    assert torch.autograd.gradcheck(total, outputs, fast_mode=True)


def test_normalizer_replaces_the_divisor() -> None:
    outputs, targets = scene.levels(), scene.targets()
    own = yolov8()(outputs, targets)
    given = yolov8()(outputs, targets, normalizer=torch.tensor(10.0, dtype=torch.float64))
    torch.testing.assert_close(10 * given.total, own.total * own.stats["score_sum"].clamp(min=1))


def test_assigners_find_the_objects() -> None:
    """Each object of the scene gets a point, and the counts are told."""
    stats = TaskAlignedCriterion(scene.CLASSES, scene.STRIDES)(scene.levels(), scene.targets()).stats
    assert stats["targets"] == 3
    assert stats["starved"] == 0
    assert stats["positives"] >= 3
    assert stats["ignored"] > 0
    assert 0 < stats["mean_iou"] < 1


@pytest.mark.parametrize(
    ("options", "outputs", "message"),
    [
        ({}, {"channels": 4}, "3 class logits, got 4"),
        ({"class_loss": losses.CrossEntropyLoss(), "scores": "hard"}, {}, "4 class logits, the last for background"),
        ({"class_loss": losses.CrossEntropyLoss()}, {"channels": 4}, "scores='hard' for exclusive classes"),
        ({}, {"width": 4}, "dfl_weight=None for distances of one bin, got 0.5"),
        ({}, {"width": 6}, r"4 \* bins channels of distances, got 6"),
        ({}, {"batch": 2}, "targets of 2 images, got 3"),
        ({}, {"key": "deltas"}, "keys 'logits' and 'distances', got .*deltas"),
        ({"scores": "soft"}, {}, "scores to be one of 'assigned', 'iou', 'hard', got 'soft'"),
    ],
)
def test_errors_are_one_clear_sentence(options: Any, outputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match="TaskAlignedCriterion: expected .*" + message):
        TaskAlignedCriterion(scene.CLASSES, scene.STRIDES, **options)(scene.levels(**outputs), scene.targets())


PARTS = ((slice(0, 2), slice(2, 3)), (slice(0, 1), slice(1, 3)))  # the first leaves a rank without objects


def run_rank(rank: int, folder: Path, part: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    mine = PARTS[part][rank]
    outputs = scene.leaves(scene.of_images(scene.levels(), mine))
    loss = yolov8()(outputs, scene.targets(scene.ANNOTATIONS[mine]))
    torch.save((scene.gradients(loss.total, outputs), loss.total.detach()), folder / f"{rank}.pt")
    torch.distributed.barrier()  # a rank that leaves first can take the other's connection with it
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("part", range(len(PARTS)))
def test_two_processes_have_the_gradient_of_one(tmp_path: Path, part: int) -> None:
    outputs = scene.leaves(scene.levels())
    loss = yolov8()(outputs, scene.targets())
    mp.spawn(run_rank, args=(tmp_path, part), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    # Distributed data parallel averages: each rank's own gradient counts half.
    for number, wanted in enumerate(scene.gradients(loss.total, outputs)):
        torch.testing.assert_close(torch.cat([grads[number] for grads, _ in ranks]) / 2, wanted)
    torch.testing.assert_close(sum(total for _, total in ranks) / 2, loss.total)


def test_default_assigner_is_task_aligned() -> None:
    assert isinstance(TaskAlignedCriterion(1, [8]).assigner, TaskAlignedAssigner)
