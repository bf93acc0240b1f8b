"""Criteria of rotated boxes: equal to the upright form where nothing is turned, and to a slow form where it is."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import matchloss
import rotated_scenes as scene
from host_reads import NoHostReads
from matchloss.assigners import ATSSAssigner, HungarianAssigner, TaskAlignedAssigner
from matchloss.criteria import SetCriterion, TaskAlignedCriterion
from matchloss.criteria._box_head import distances_to_sides
from matchloss.geometry import distances_from_boxes, grid_points
from matchloss.losses import IoULoss, KLDLoss, L1Loss, ProbIoULoss, RotatedIoULoss, iou_loss
from matchloss.types import Targets
from reference import rotated_losses as slow
from rotated_scenes import CLASSES, SIZE
from set_scenes import mapped

# Set prediction

SLOW = {
    "iou": (RotatedIoULoss(), lambda box, target: 1 - slow.rotated_iou(box, target)),
    "probiou": (None, lambda box, target: math.sqrt(1 - math.exp(-slow.bhattacharyya(box, target)))),
    "kld": (KLDLoss(), lambda box, target: 1 - 1 / (1 + math.log1p(slow.kl_divergence(box, target)))),
}


def outputs(channels: int = CLASSES + 1, *, turned: bool = True, seed: int = 0) -> dict[str, torch.Tensor]:
    logits, boxes = scene.predictions(channels, turned=turned, seed=seed)
    return {"logits": logits.requires_grad_(), "pred_boxes": boxes.requires_grad_()}


@pytest.mark.parametrize("kind", SLOW)
def test_terms_of_a_set_equal_the_slow_form(kind: str) -> None:
    module, of_pair = SLOW[kind]
    criterion = SetCriterion(CLASSES, rotated_loss=module, l1_weight=3.0, giou_weight=2.5)
    found, targets = outputs(), scene.targets()
    loss, matching = criterion(found, targets), criterion.match(found, targets)
    scale = np.array([SIZE[1], SIZE[0], SIZE[1], SIZE[0], 1.0])
    l1 = rotated = iou = 0.0
    pairs = [(b, m, q) for b, row in enumerate(matching.query_of_target.tolist()) for m, q in enumerate(row) if q >= 0]
    for b, m, q in pairs:
        box, target = found["pred_boxes"][b, q].detach().numpy(), targets.boxes[b, m].numpy()
        weight = targets.weights[b, m].item()
        l1 += weight * scene.l1(box, target / scale)
        rotated += weight * of_pair(box * scale, target)
        iou += slow.rotated_iou(box * scale, target)
    assert len(pairs) == 4
    assert set(loss.terms) == {"class", "l1", "rotated"}
    assert loss.terms["l1"].item() == pytest.approx(3.0 * l1 / 4)
    assert loss.terms["rotated"].item() == pytest.approx(2.5 * rotated / 4, rel=1e-6)
    assert loss.stats["mean_iou"].item() == pytest.approx(iou / 4, rel=1e-6)
    assert_close(loss.total, sum(loss.terms.values()))


def test_a_set_with_all_angles_0_costs_what_it_costs_upright() -> None:
    targets = scene.upright(scene.targets())
    four = scene.without_angles(targets)
    found = outputs(turned=False)
    without = {**found, "pred_boxes": found["pred_boxes"][..., :4]}
    upright = HungarianAssigner.detr()

    def same_matching(logits: torch.Tensor, boxes: torch.Tensor, _: Targets):
        return upright(logits, boxes[..., :4], four)

    rotated = SetCriterion(CLASSES, assigner=same_matching, rotated_loss=RotatedIoULoss(), scores="hard")
    got, wanted = rotated(found, targets), SetCriterion(CLASSES)(without, four)
    for name in ("class", "l1"):
        assert_close(got.terms[name], wanted.terms[name])
    assert_close(got.stats["mean_iou"], wanted.stats["mean_iou"])
    assert_close(got.stats["ignored"], wanted.stats["ignored"])
    matching = rotated.match(found, targets)
    total = 0.0
    for b, row in enumerate(matching.query_of_target.tolist()):
        for m, q in enumerate(row):
            if q >= 0:
                x, y, width, height = (found["pred_boxes"][b, q, :4] * torch.tensor([240, 100, 240, 100])).unbind()
                box = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
                total = total + targets.weights[b, m] * iou_loss(box, four.boxes[b, m])
    assert_close(got.terms["rotated"], 2.0 * total / 4)
    (grad,) = torch.autograd.grad(got.terms["rotated"], found["pred_boxes"], retain_graph=True)
    (wanted_grad,) = torch.autograd.grad(2.0 * total / 4, found["pred_boxes"])
    assert_close(grad[..., :4], wanted_grad[..., :4])


def test_queries_on_a_turned_crowd_cost_nothing() -> None:
    criterion = SetCriterion(CLASSES)
    found = outputs()
    x, y, _, _, angle = scene.CROWD
    along = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    boxes = scene.predictions(CLASSES + 1)[1]
    on_it = torch.tensor([x, y, 20.0, 8.0, angle], dtype=torch.float64)
    on_it[:2] += 40 * along
    beside = on_it.clone()
    beside[:2] -= 40 * along * torch.tensor([1.0, -1.0], dtype=torch.float64)  # within its upright box
    across = on_it + torch.tensor([0, 0, 0, 40, 0], dtype=torch.float64)  # a quarter of it, not a half
    boxes[1, 4:7] = scene.in_fractions(torch.stack([on_it, beside, across]))
    before = criterion({**found, "pred_boxes": boxes}, scene.targets())
    assert before.stats["ignored"] == 1
    moved = found["logits"].detach().clone()
    moved[1, 4] += torch.tensor([5.0, -3.0, 1.0, 0.0])
    after = criterion({"logits": moved, "pred_boxes": boxes}, scene.targets())
    assert_close(after.terms["class"], before.terms["class"])


def test_a_set_without_objects_has_zero_terms_with_a_gradient() -> None:
    found = outputs()
    loss = SetCriterion(CLASSES)(found, scene.targets([scene.NOTHING] * 3))
    assert loss.terms["l1"] == loss.terms["rotated"] == 0
    grad = torch.autograd.grad(loss.total, found["pred_boxes"])[0]
    assert not grad.any()


def test_layers_and_presets_take_rotated_boxes() -> None:
    for make, channels in ((SetCriterion.detr, CLASSES + 1), (SetCriterion.rtdetr, CLASSES)):
        found = outputs(channels)
        found["auxiliary_outputs"] = [outputs(channels, seed=1)]
        loss = make(CLASSES)(found, scene.targets())
        assert set(loss.terms) == {name + suffix for name in ("class", "l1", "rotated") for suffix in ("", "_aux_0")}
        loss.total.backward()
        assert found["pred_boxes"].grad[0].any()
        assert not found["pred_boxes"].grad[2].any(), "an empty image"


def test_a_broken_query_spoils_no_other() -> None:
    found = outputs()
    boxes = found["pred_boxes"].detach().clone()
    boxes[2, 0] = torch.nan
    loss = SetCriterion(CLASSES)({"logits": found["logits"], "pred_boxes": boxes.requires_grad_()}, scene.targets())
    assert loss.total.isfinite()
    assert torch.autograd.grad(loss.total, boxes)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_of_a_set_computes_in_float32(dtype: torch.dtype) -> None:
    found = {name: values.detach().to(dtype) for name, values in outputs().items()}
    widened = {name: values.double() for name, values in found.items()}
    got, wanted = SetCriterion(CLASSES)(found, scene.targets()), SetCriterion(CLASSES)(widened, scene.targets())
    for name, term in got.terms.items():
        assert term.dtype == torch.float32
        assert_close(term.double(), wanted.terms[name].double(), rtol=1e-4, atol=1e-5)


def test_a_set_reads_nothing_on_the_host_and_traces_in_one_graph() -> None:
    meta = {name: values.to("meta") for name, values in outputs().items()}
    targets = mapped(scene.targets(), lambda values: values.to("meta"))
    with NoHostReads():
        assert SetCriterion(CLASSES).to("meta")(meta, targets).total.shape == ()
    criterion, found = SetCriterion(CLASSES), outputs()

    def total(logits: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return criterion({"logits": logits, "pred_boxes": boxes}, scene.targets()).total

    torch._dynamo.reset()
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    with matchloss.reference():
        assert_close(compiled(*found.values()), total(*found.values()))


def test_what_does_not_fit_a_set_is_one_sentence() -> None:
    found = outputs()
    with pytest.raises(ValueError, match=r"^\w+: expected 4 numbers a box in the format cxcywh, got boxes of 5"):
        SetCriterion(CLASSES)(found, [scene.TWO, scene.CROWDED, scene.NOTHING])
    with pytest.raises(
        ValueError, match=r"^\w+: expected Targets with image_size=\(H, W\): rotated boxes are compared in"
    ):
        SetCriterion(CLASSES)(found, scene.targets(size=None))
    with pytest.raises(ValueError, match=r"^SetCriterion: expected logits \(B, Q, C\) and pred_boxes \(B, Q, 5\), got"):
        SetCriterion(CLASSES)({**found, "pred_boxes": found["pred_boxes"][..., :4]}, scene.targets())
    with pytest.raises(ValueError, match=r"giou_loss: expected boxes of shape \(\.\.\., 4\)"):
        SetCriterion(CLASSES, rotated_loss=matchloss.losses.GIoULoss())(found, scene.targets())
    assert isinstance(SetCriterion(CLASSES).rotated_loss, ProbIoULoss)


# Task-aligned

STRIDES, SIZES = (4, 8), ((25, 60), (13, 30))
POINTS = grid_points(SIZES, STRIDES, dtype=torch.float64)


def levels(*, bins: int = 1, turned: bool = True, seed: int = 0, dtype=torch.float64) -> list[dict[str, torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    found = []
    for height, width in SIZES:
        maps = torch.randn(3, CLASSES + 4 * bins + 1, height, width, generator=rng, dtype=torch.float64)
        logits, sides, angles = maps.split([CLASSES, 4 * bins, 1], dim=1)
        sides = sides.abs() + 1 if bins == 1 else sides
        one = {"logits": logits, "distances": sides, "angles": angles if turned else torch.zeros_like(angles)}
        found.append({name: values.to(dtype).requires_grad_() for name, values in one.items()})
    return found


def dense_criterion(**options) -> TaskAlignedCriterion:
    options = {"assigner": TaskAlignedAssigner(topk=5, overlap="probiou"), "box_loss": ProbIoULoss()} | options
    return TaskAlignedCriterion(CLASSES, STRIDES, **options)


def rotated_box(points: np.ndarray, distances: np.ndarray, angle: float) -> np.ndarray:
    """From left, top, right, bottom: the middle of the four sides' lines, by the box's own axes."""
    left, top, right, bottom = distances
    middle = points + slow.turn(angle) @ [(right - left) / 2, (bottom - top) / 2]
    return np.array([*middle, left + right, top + bottom, angle])


@pytest.mark.parametrize("kind", SLOW)
def test_dense_terms_equal_the_slow_form(kind: str) -> None:
    module, of_pair = SLOW[kind]
    criterion = dense_criterion(box_loss=module or ProbIoULoss(), dfl_weight=None, scores="iou", box_weight=2.0)
    found, targets = levels(), scene.targets()
    loss, matched = criterion(found, targets), criterion.match(found, targets)
    flat = {
        name: torch.cat([level[name].flatten(2) for level in found], 2).transpose(1, 2).detach().numpy()
        for name in ("distances", "angles")
    }
    box = total = 0.0
    for b, a in (matched.assignment.target_index >= 0).nonzero().tolist():
        m = matched.assignment.target_index[b, a]
        sides = flat["distances"][b, a] * POINTS.strides[a].item()
        made = rotated_box(POINTS.centers[a].numpy(), sides, flat["angles"][b, a, 0])
        assert_close(matched.boxes[b, a], torch.tensor(made))
        overlap = slow.rotated_iou(made, targets.boxes[b, m].numpy())
        box += targets.weights[b, m].item() * overlap * of_pair(made, targets.boxes[b, m].numpy())
        total += overlap
    assert loss.stats["positives"] == 20
    assert loss.terms["box"].item() == pytest.approx(2.0 * box / max(total, 1), rel=1e-6)
    assert loss.stats["mean_iou"].item() == pytest.approx(total / 20, rel=1e-6)


@pytest.mark.parametrize("bins", [1, 9])
def test_dense_boxes_with_all_angles_0_cost_what_they_cost_upright(bins: int) -> None:
    targets = scene.upright(scene.targets())
    four, found = scene.without_angles(targets), levels(bins=bins, turned=False)
    without = [{name: level[name] for name in ("logits", "distances")} for level in found]
    options = {"assigner": TaskAlignedAssigner(topk=5), "dfl_weight": 0.5 if bins > 1 else None}
    got = dense_criterion(box_loss=RotatedIoULoss(), **options)(found, targets)
    wanted = dense_criterion(box_loss=IoULoss(), **options)(without, four)
    assert set(got.terms) == set(wanted.terms)
    for part in ("terms", "stats"):
        for name, value in getattr(got, part).items():
            assert_close(value, getattr(wanted, part)[name], msg=lambda m, n=name: f"{n}: {m}")
    for grads in zip(*(gradients(loss, without) for loss in (got, wanted)), strict=True):
        assert_close(*grads)


def gradients(loss, found) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss.total, [values for level in found for values in level.values()]))


def test_distances_of_distributions_run_along_the_target_s_axes() -> None:
    point, target = POINTS.centers[700], torch.tensor([120.0, 45.0, 60.0, 20.0, 0.7], dtype=torch.float64)
    turn = torch.tensor(slow.turn(-0.7)) @ (point - target[:2])
    wanted = distances_from_boxes(turn, torch.tensor([-30.0, -10.0, 30.0, 10.0], dtype=torch.float64))
    assert_close(distances_to_sides(point, target), wanted)
    found = levels(bins=9)
    dense_criterion()(found, scene.targets()).terms["dfl"].backward()
    assert found[0]["distances"].grad.any()
    assert found[0]["angles"].grad is None or not found[0]["angles"].grad.any()


def test_flattened_levels_and_lists_of_targets_are_read_alike() -> None:
    found, images = levels(), [scene.TWO, scene.CROWDED, scene.NOTHING]
    criterion = dense_criterion(dfl_weight=None)
    wanted = criterion(found, scene.targets(images)).total
    assert_close(criterion(found, images).total, wanted)
    flat = {name: torch.cat([level[name].flatten(2) for level in found], 2).transpose(1, 2) for name in found[0]}
    assert_close(criterion({**flat, "sizes": list(SIZES)}, images).total, wanted)


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_a_dense_batch_without_objects_has_zero_terms_with_a_gradient(path: str) -> None:
    found = levels(bins=9)
    with matchloss.reference() if path == "plain" else torch.enable_grad():
        loss = dense_criterion()(found, scene.targets([scene.NOTHING] * 3))
        assert loss.terms["box"] == loss.terms["dfl"] == loss.terms["class_positive"] == 0
        loss.total.backward()
    assert found[0]["logits"].grad.any()
    assert found[0]["angles"].grad is not None
    assert not found[0]["angles"].grad.any()


def test_dense_paths_agree_and_a_negative_s_nan_is_not_seen() -> None:
    found, targets = levels(bins=9, dtype=torch.float32), scene.targets()
    criterion = dense_criterion()
    negative = criterion.match(found, targets).assignment.target_index[:, : SIZES[0][0] * SIZES[0][1]] < 0
    with torch.no_grad():
        found[0]["angles"][negative.view(3, 1, *SIZES[0])] = torch.nan
    fast = criterion(found, targets)
    grads = gradients(fast, found)
    with matchloss.reference():
        plain = criterion(found, targets)
        for grad, wanted in zip(grads, gradients(plain, found), strict=True):
            assert grad.isfinite().all()
            assert_close(grad, wanted, rtol=1e-4, atol=1e-6)
    assert_close(fast.total, plain.total)


def test_the_dense_criterion_reads_nothing_on_the_host() -> None:
    meta = [mapped(level, lambda values: values.to("meta")) for level in levels(bins=9)]
    targets = mapped(scene.targets(), lambda values: values.to("meta"))
    with NoHostReads():
        assert dense_criterion().to("meta")(meta, targets).total.shape == ()


def test_what_does_not_fit_the_dense_criterion_is_one_sentence() -> None:
    found, targets = levels(), scene.targets()
    without = [{name: level[name] for name in ("logits", "distances")} for level in found]
    criterion = dense_criterion(dfl_weight=None)
    with pytest.raises(
        ValueError, match=r"^TaskAlignedCriterion: expected levels with 'angles' beside rotated targets"
    ):
        criterion(without, targets)
    with pytest.raises(ValueError, match=r"^TaskAlignedCriterion: expected one channel of angles, got 2$"):
        criterion([{**level, "angles": level["angles"].repeat(1, 2, 1, 1)} for level in found], targets)
    with pytest.raises(
        ValueError, match=r"^TaskAlignedCriterion: expected losses of rotated boxes beside angles, got L1"
    ):
        dense_criterion(dfl_weight=None, box_loss=L1Loss())(found, targets)
    with pytest.raises(ValueError, match=r"^ATSSAssigner: expected upright targets, .* TaskAlignedAssigner"):
        dense_criterion(dfl_weight=None, assigner=ATSSAssigner())(found, targets)
