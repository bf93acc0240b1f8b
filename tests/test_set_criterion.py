"""SetCriterion: equal to the slow form, right on what is empty, broken or a crowd, and the same however it is asked."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import matchloss
import set_scenes as scene
from host_reads import NoHostReads
from matchloss import losses
from matchloss.assigners import HungarianAssigner
from matchloss.criteria import SetCriterion
from matchloss.geometry import box_iou, cxcywh_to_xyxy
from matchloss.types import LossTerms, Matching, Targets
from reference import dense
from reference.set_criterion import Rule, criterion as slow
from set_scenes import ANNOTATIONS, CLASSES, CROWDED, NOTHING, TWO, gradients, leaves


class Case(NamedTuple):
    """A criterion and how the reference knows it."""

    criterion: SetCriterion
    rule: Rule

    @property
    def channels(self) -> int:
        return CLASSES + (self.rule.element is None)


def focal(x: float, t: float, _is_label: bool) -> float:
    p = 1 / (1 + math.exp(-x))
    hit = p if t else 1 - p
    return -(0.25 if t else 0.75) * (1 - hit) ** 2 * math.log(hit)


def sigmoid_case(class_loss: torch.nn.Module, element: Any, **options: Any) -> Case:
    made = SetCriterion(CLASSES, class_loss=class_loss, **options)
    return Case(made, Rule(element, soft=options.get("scores") == "iou", costs=(2.0, 5.0, 2.0)))


def paper_varifocal(x: float, t: float, _is_label: bool) -> float:
    return dense.varifocal(x, t, t > 0)


def matchability(x: float, t: float, is_label: bool) -> float:
    return dense.bce(x, t**1.5, is_label) * (1 if is_label else (1 + math.exp(-x)) ** -1.5)


def iou_aware(x: float, t: float, is_label: bool) -> float:
    p = 1 / (1 + math.exp(-x))
    return dense.bce(x, max(p**0.25 * t**0.75, 0.01), is_label) if is_label else p**2 * dense.bce(x, 0.0, is_label)


CONSTANTS = {"rtdetr", "mal", "iou-aware bce"}
"""Class losses with weights or targets that are constants as far as the gradient is concerned."""

PRESETS = {
    "detr": Case(SetCriterion.detr(CLASSES), Rule()),
    "deformable_detr": Case(
        SetCriterion.deformable_detr(CLASSES), Rule(focal, weights=(2.0, 5.0, 2.0, 1.0, 1.0), costs=(2.0, 5.0, 2.0))
    ),
    "rtdetr": Case(SetCriterion.rtdetr(CLASSES), Rule(dense.varifocal, soft=True, costs=(2.0, 5.0, 2.0))),
}
CASES = PRESETS | {
    "weights": Case(
        SetCriterion(
            CLASSES,
            no_object_weight=0.5,
            class_weight=2,
            l1_weight=3,
            giou_weight=0.5,
            mask_weight=4,
            dice_weight=0.25,
            assigner=HungarianAssigner(),
        ),
        Rule(weights=(2, 3, 0.5, 4, 0.25), no_object=0.5, costs=(1, 1, 1)),
    ),
    "softmax focal": Case(
        SetCriterion(CLASSES, class_loss=losses.SoftmaxFocalLoss(gamma=2)), Rule(no_object=1.0, gamma=2.0)
    ),
    "yolos": Case(SetCriterion.yolos(CLASSES), Rule()),
    "quality focal": sigmoid_case(losses.QualityFocalLoss(), dense.quality_focal, scores="iou"),
    "varifocal": sigmoid_case(losses.VarifocalLoss(), paper_varifocal, scores="iou"),
    "bce": sigmoid_case(losses.BinaryCrossEntropyLoss(), dense.bce),
    "mal": sigmoid_case(losses.MatchabilityAwareLoss(), matchability, scores="iou"),
    "iou-aware bce": sigmoid_case(losses.IoUAwareBinaryCrossEntropyLoss(), iou_aware, scores="iou"),
}
EACH_PRESET = pytest.mark.parametrize("case", PRESETS.values(), ids=PRESETS)
EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def assert_terms(got: LossTerms, terms: dict[str, float], stats: dict[str, float] | None = None) -> None:
    assert set(got.terms) == set(terms)
    for name, value in terms.items():
        np.testing.assert_allclose(got.terms[name].item(), value, rtol=1e-6, atol=1e-9, err_msg=name)
    assert_close(got.total, torch.stack(list(got.terms.values())).sum())
    for name, value in (stats or {}).items():
        np.testing.assert_allclose(got.stats[name].item(), value, rtol=1e-5, err_msg=name)
        assert not got.stats[name].requires_grad
    if stats is not None:
        assert set(got.stats) == set(stats)


def assert_same(got: LossTerms, wanted: LossTerms) -> None:
    assert list(got.terms) == list(wanted.terms)
    for name, term in wanted.terms.items():
        assert_close(got.terms[name], term, msg=lambda text, name=name: f"{name}: {text}")
    for name, value in wanted.stats.items():
        assert_close(got.stats[name], value, msg=lambda text, name=name: f"{name}: {text}")


# Values


@EACH_CASE
@pytest.mark.parametrize("masks", [False, True])
def test_equals_the_slow_form(case: Case, masks: bool) -> None:
    ignored = 0
    for seed in range(3):
        found = scene.outputs(case.channels, masks=masks, seed=seed)
        got = case.criterion(found, ANNOTATIONS)
        assert_terms(got, *slow(scene.reference_layers(found), scene.arrays(ANNOTATIONS), case.rule))
        assert all(got.terms[name] > 0 for name in got.terms)
        ignored += got.stats["ignored"].item()
    assert ignored > 0  # or crowds would be no part of the comparison


@EACH_PRESET
def test_more_targets_than_queries_are_counted(case: Case) -> None:
    for queries in (1, 2):
        found = scene.outputs(case.channels, queries=queries, masks=True)
        got = case.criterion(found, ANNOTATIONS)
        assert_terms(got, *slow(scene.reference_layers(found), scene.arrays(ANNOTATIONS), case.rule))
        assert got.stats["targets"] == 5
        assert got.stats["surplus"] == 5 - 2 * queries
        assert got.stats["matched"] == 2 * queries


def test_shared_queries_learn_the_boxes_of_surplus_targets_too() -> None:
    sharing = SetCriterion(CLASSES, assigner=HungarianAssigner(l1_weight=5.0, giou_weight=2.0, surplus="share"))
    found = scene.layer(CLASSES + 1, queries=1)
    got, alone = (criterion(found, ANNOTATIONS) for criterion in (sharing, SetCriterion.detr(CLASSES)))
    wanted = sum(
        weight * (found["pred_boxes"][b, 0] - box).abs().sum()
        for b, (boxes, weights) in enumerate(
            [(TWO["boxes"], TWO["weights"]), (CROWDED["boxes"][[0, 2, 3]], CROWDED["weights"][[0, 2, 3]])]
        )
        for box, weight in zip(boxes, weights, strict=True)
    )
    assert_close(got.terms["l1"], wanted)  # weight 5, 5 targets
    assert got.terms["l1"] > alone.terms["l1"]
    assert got.terms["class"] == alone.terms["class"]
    assert got.stats["matched"] == 2
    soft = SetCriterion(
        CLASSES,
        assigner=HungarianAssigner(class_cost="focal", surplus="share"),
        class_loss=losses.QualityFocalLoss(),
        scores="iou",
    )
    found = scene.layer(CLASSES, queries=1)
    matching = soft.match(found, ANNOTATIONS)
    for b in range(2):  # towards the IoU with its own target
        own = ANNOTATIONS[b]["boxes"][matching.target_of_query[b, 0]]
        quality = box_iou(cxcywh_to_xyxy(found["pred_boxes"][b, 0]), cxcywh_to_xyxy(own))
        logits = torch.full((3, 1, CLASSES), -40.0, dtype=torch.float64)
        logits[b, 0, ANNOTATIONS[b]["labels"][matching.target_of_query[b, 0]]] = quality.logit()
        rows = gradients(soft({**found, "logits": logits.requires_grad_()}, ANNOTATIONS).total, [logits])[0]
        assert (
            soft.match({**found, "logits": logits}, ANNOTATIONS).target_of_query[b, 0]
            == (matching.target_of_query[b, 0])
        )
        assert rows[b].abs().max() < 1e-9


def test_cardinality_and_class_error_by_hand() -> None:
    """Two images of one object; the first is found with its class, the second has three found and the class wrong."""
    logits = torch.zeros(2, 4, CLASSES + 1)
    logits[..., CLASSES] = 1.0
    logits[0, 0, 1], logits[1, :3, 2] = 5.0, 5.0
    boxes = torch.tensor([0.2, 0.2, 0.1, 0.1]).repeat(2, 4, 1)
    boxes[:, 0] = torch.tensor([0.5, 0.5, 0.3, 0.3])
    image = {"boxes": boxes[0, :1], "labels": torch.tensor([1])}
    stats = SetCriterion.detr(CLASSES)({"logits": logits, "pred_boxes": boxes}, [image, image]).stats
    assert stats["cardinality_error"] == 1.0
    assert stats["class_error"] == 50.0
    assert stats["mean_iou"].item() == pytest.approx(1.0)
    sigmoid = SetCriterion.deformable_detr(CLASSES)(
        {"logits": logits[..., :CLASSES] - 1, "pred_boxes": boxes}, [image, image]
    )
    assert sigmoid.stats["cardinality_error"] == 1.0
    assert sigmoid.stats["class_error"] == 50.0


def test_detr_by_hand() -> None:
    """Of two queries with p = 1/2 each for class and no object, one lies half a width beside its object."""
    boxes = torch.tensor([[[0.6, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    image = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "labels": torch.tensor([0])}
    got = SetCriterion.detr(1)({"logits": torch.zeros(1, 2, 2), "pred_boxes": boxes}, [image])
    assert_terms(got, {"class": math.log(2), "l1": 5 * 0.1, "giou": 2 * (1 - 1 / 3)})


# Gradients


@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_finite_differences(name: str) -> None:
    """The class target is a constant as far as boxes are concerned, so the class terms have a check of their own."""
    case = CASES[name]
    found, inputs = leaves(scene.outputs(case.channels, masks=True, auxiliary=1))

    def terms(classes: bool) -> Tensor:
        loss = case.criterion(found, ANNOTATIONS).terms
        return torch.stack([term for name, term in loss.items() if name.startswith("class") == classes]).sum()

    logits = [part["logits"] for _, part in scene.each_layer(found)]
    boxes = [part["pred_boxes"] for _, part in scene.each_layer(found)]
    assert torch.autograd.gradcheck(lambda *_: terms(classes=False), inputs, fast_mode=True)
    if name not in CONSTANTS:
        assert torch.autograd.gradcheck(lambda *_: terms(classes=True), logits, fast_mode=True)
    assert not any(grad.any() for grad in gradients(terms(classes=True), boxes))


def test_gradient_of_rtdetr_is_that_of_constant_weights() -> None:
    criterion = SetCriterion.rtdetr(CLASSES)
    found, _ = leaves(scene.outputs(CLASSES, masks=True))
    matching = criterion.match(found, ANNOTATIONS)
    (slope,) = gradients(criterion(found, ANNOTATIONS).terms["class"], [found["logits"]])
    checked = 0
    for b, image in enumerate(ANNOTATIONS):
        for q, t in enumerate(matching.target_of_query[b].tolist()):
            p = found["logits"][b, q].detach().sigmoid()
            if t < 0:
                wanted = 0.75 * p**2 * p
                assert_close(slope[b, q] * 5, wanted if slope[b, q].any() else 0 * wanted)  # 0 on a crowd
                continue
            iou = box_iou(cxcywh_to_xyxy(found["pred_boxes"][b, q]), cxcywh_to_xyxy(image["boxes"][t])).detach()
            is_label = torch.arange(CLASSES) == image["labels"][t]
            wanted = torch.where(is_label, iou * (p - iou), 0.75 * p**3)
            assert_close(slope[b, q] * 5, image["weights"][t] * wanted)
            checked += 1
    assert checked == 5


@EACH_CASE
def test_plain_form_is_the_same_and_differentiable_twice(case: Case) -> None:
    found, inputs = leaves(scene.outputs(case.channels, masks=True, auxiliary=1))
    loss = case.criterion(found, ANNOTATIONS)
    fast = gradients(loss.total, inputs)
    with matchloss.reference():
        plain = case.criterion(found, ANNOTATIONS)
        assert_same(loss, plain)
        for grad, wanted in zip(fast, gradients(plain.total, inputs), strict=True):
            assert_close(grad, wanted)
        if case.rule.soft:
            return  # what is detached has no second derivative of that kind

        def total(*_: Tensor) -> Tensor:
            return case.criterion(found, ANNOTATIONS).total

        assert torch.autograd.gradgradcheck(total, inputs, fast_mode=True)


# What is empty


@EACH_PRESET
@pytest.mark.parametrize("padded", [False, True], ids=["no column", "padding"])
def test_batch_without_objects_has_class_terms_alone(case: Case, padded: bool) -> None:
    found, _ = leaves(scene.outputs(case.channels, masks=True))
    some = case.criterion(found, ANNOTATIONS)
    nothing = scene.targets([NOTHING] * 3)
    if padded:
        nothing = scene.targets()._replace(valid=torch.zeros(3, 4, dtype=torch.bool))
    assert nothing.labels.shape[1] == (4 if padded else 0)
    none = case.criterion(found, nothing)
    assert list(none.terms) == list(some.terms)
    assert list(none.stats) == list(some.stats)
    for name, term in none.terms.items():
        assert term.requires_grad
        assert term > 0 if name.startswith("class") else term == 0
    for name in ("targets", "matched", "surplus", "broken", "class_error", "mean_iou"):
        assert none.stats[name] == 0
    parts = [(name, part[name]) for _, part in scene.each_layer(found) for name in scene.NAMES if name in part]
    few = {name: values[:, :2] for name, values in scene.layer(case.channels).items()}
    assert_terms(
        case.criterion(few, nothing), slow(scene.reference_layers(few), scene.arrays([NOTHING] * 3), case.rule)[0]
    )
    for (name, _), grad in zip(parts, gradients(none.total, [values for _, values in parts]), strict=True):
        assert (grad.abs().sum(-1) > 0).all() if name == "logits" else not grad.any()


@EACH_PRESET
def test_an_image_without_objects_learns_that_there_is_nothing(case: Case) -> None:
    found, _ = leaves(scene.layer(case.channels, masks=True))
    loss = case.criterion(found, ANNOTATIONS)
    logits, boxes, masks = gradients(loss.total, [found[name] for name in scene.NAMES])
    assert (logits[2].abs().sum(-1) > 0).all()
    assert not boxes[2].any()
    assert not masks[2].any()
    for image in range(2):  # boxes and masks learn where there is a match
        matched = case.criterion.match(found, ANNOTATIONS).target_of_query[image] >= 0
        assert torch.equal(boxes[image].abs().sum(-1) > 0, matched)
        assert torch.equal(masks[image].abs().sum((1, 2)) > 0, matched)


def test_only_crowds_is_no_object() -> None:
    crowd = {**CROWDED, "iscrowd": torch.ones(4)}
    for case in PRESETS.values():
        found, inputs = leaves(scene.outputs(case.channels, masks=True))
        loss = case.criterion(found, [crowd] * 3)
        assert loss.stats["targets"] == loss.stats["matched"] == 0
        assert all(loss.terms[name] == 0 for name in ("l1", "giou", "mask", "dice"))
        assert all(grad.isfinite().all() for grad in gradients(loss.total, inputs))


# What is broken


@EACH_PRESET
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["logits", "pred_boxes"])
def test_a_broken_query_crashes_nothing_and_is_seen(case: Case, value: float, name: str) -> None:
    found = scene.layer(case.channels, masks=True)
    sound = case.criterion.match(found, ANNOTATIONS)
    free = int((sound.target_of_query[0] < 0).nonzero()[0])
    taken = int(sound.query_of_target[0, 1])
    found[name][0, free] = value
    matching = case.criterion.match(found, ANNOTATIONS)
    assert torch.equal(matching.query_of_target, sound.query_of_target)
    loss = case.criterion(found, ANNOTATIONS)
    assert loss.stats["broken"] == matching.stats["broken"] == 2
    # Nobody looks at the box of a query that is not matched.
    assert loss.total.isfinite() == (name == "pred_boxes")
    found[name][0, taken] = value
    loss, matching = case.criterion(found, ANNOTATIONS), case.criterion.match(found, ANNOTATIONS)
    assert matching.target_of_query[0, [free, taken]].tolist() == [-1, -1]
    assert loss.stats["matched"] == 5
    assert torch.equal(matching.query_of_target[1:], sound.query_of_target[1:])


@EACH_PRESET
def test_nothing_but_broken_queries_is_no_match(case: Case) -> None:
    found, inputs = leaves(scene.layer(case.channels, masks=True))
    with torch.no_grad():
        found["pred_boxes"][0], found["pred_masks"][0] = math.nan, math.nan
    loss = case.criterion(found, ANNOTATIONS)
    assert loss.stats["matched"] == 3
    assert loss.stats["targets"] == 5
    assert loss.stats["broken"] == 2 * scene.QUERIES
    assert loss.total.isfinite()
    assert all(grad.isfinite().all() for grad in gradients(loss.total, inputs))


@EACH_PRESET
@pytest.mark.parametrize("box", [[math.nan, 0.5, 0.1, 0.1], [0.5, 0.5, -0.1, 0.1], [0.5, 0.5, math.inf, 0.1]])
def test_a_broken_target_is_not_matched(case: Case, box: list[float]) -> None:
    broken = {**TWO, "boxes": torch.stack([TWO["boxes"][0], torch.tensor(box, dtype=torch.float64)])}
    alone = {name: values[:1] for name, values in TWO.items()}
    found, inputs = leaves(scene.outputs(case.channels, masks=True))
    loss, wanted = (case.criterion(found, [first, CROWDED, NOTHING]) for first in (broken, alone))
    assert loss.stats["matched"] == wanted.stats["matched"] == 4
    assert loss.stats["targets"] == 5
    for name in ("l1", "giou", "mask", "dice", "l1_aux_1", "giou_encoder"):  # it counts as one of the targets
        assert_close(5 * loss.terms[name], 4 * wanted.terms[name])
    assert loss.total.isfinite()
    assert all(grad.isfinite().all() for grad in gradients(loss.total, inputs))


@EACH_PRESET
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_first(case: Case, dtype: torch.dtype) -> None:
    """The same numbers in float32 give the same loss, inside autocast and out of it."""
    found, inputs = leaves(scene.outputs(case.channels, masks=True), dtype)
    wide, wide_inputs = leaves(found, torch.float32)
    wanted = case.criterion(wide, ANNOTATIONS)
    wanted_gradients = gradients(wanted.total, wide_inputs)
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            loss = case.criterion(found, ANNOTATIONS)
            same = case.criterion(wide, ANNOTATIONS)
        assert loss.total.dtype == torch.float32
        assert_same(loss, wanted)
        assert_same(same, wanted)
        for grad, other in zip(gradients(loss.total, inputs), wanted_gradients, strict=True):
            assert_close(grad, other.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@EACH_CASE
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_extreme_outputs_stay_finite(case: Case, dtype: torch.dtype) -> None:
    found = scene.outputs(case.channels, masks=True)
    for scale in (-5e3, 5e3):
        for _, part in scene.each_layer(found):
            part["logits"] = (scale * part["logits"]).clamp(-1e4, 1e4)
            part["pred_boxes"][:, 0], part["pred_boxes"][:, 1] = 0.0, 1.0
            part["pred_boxes"][:, 2, 2:] = 0.0
        found["pred_masks"] = (scale * found["pred_masks"]).clamp(-1e4, 1e4)
        made, inputs = leaves(found, dtype)
        loss = case.criterion(made, ANNOTATIONS)
        assert loss.total.isfinite()
        assert all(grad.isfinite().all() for grad in gradients(loss.total, inputs))


# Weights and crowds


@EACH_PRESET
def test_a_weight_multiplies_all_of_its_target_and_nothing_else(case: Case) -> None:
    found, _ = leaves(scene.outputs(case.channels, masks=True))
    zero, one, three = (case.criterion(found, scene.weighed([1.0, weight])) for weight in (0.0, 1.0, 3.0))
    for name in one.terms:
        assert one.terms[name] > zero.terms[name]
        assert_close(three.terms[name] - zero.terms[name], 3 * (one.terms[name] - zero.terms[name]))
    assert_same(one._replace(terms={}), zero._replace(terms={}))
    query = case.criterion.match(found, ANNOTATIONS).query_of_target[0, 1]
    for grad in gradients(zero.total, [found[name] for name in scene.NAMES]):
        assert not grad[0, query].any()
    for grad in gradients(one.total, [found[name] for name in scene.NAMES]):
        assert grad[0, query].any()


@EACH_PRESET
def test_unmatched_queries_on_a_crowd_cost_nothing(case: Case) -> None:
    """The crowd covers all of the third image's first query, half of its second and less of its third."""
    region = torch.tensor([[0.7, 0.7, 0.4, 0.4]], dtype=torch.float64)
    crowd = {**scene.annotation([[0.7, 0.7, 0.4, 0.4]], [0], (12, 16)), "iscrowd": torch.tensor([1])}
    found, _ = leaves(scene.layer(case.channels))
    with torch.no_grad():
        found["pred_boxes"][2, :3] = torch.tensor([0.7, 0.7, 0.1, 0.1], dtype=torch.float64)
        found["pred_boxes"][2, 1, 0], found["pred_boxes"][2, 2, 0] = 0.5 + 1e-9, 0.5 - 0.001
        found["pred_boxes"][2, 3:] = torch.tensor([0.2, 0.2, 0.1, 0.1], dtype=torch.float64)
    loss = case.criterion(found, [TWO, TWO, crowd])
    (slope,) = gradients(loss.total, [found["logits"]])
    assert (slope[2].abs().sum(-1) > 0).tolist() == [False, False, True, True, True, True, True]
    assert loss.stats["ignored"] == 2
    assert loss.stats["targets"] == loss.stats["matched"] == 4
    # They have no part in the divisor of softmax either: the loss is the one without these queries.
    rows = [case.criterion(scene.mapped(found, lambda v, i=i: v[i : i + 1]), [TWO]).terms["class"] for i in range(2)]
    rest = case.criterion(scene.mapped(found, lambda v: v[2:, 2:]), [NOTHING]).terms["class"]
    shares = [2 + 0.5, 2 + 0.5, 0.5] if case.rule.element is None else [2, 2, 1]
    wanted = sum(share * part for share, part in zip(shares, (*rows, rest), strict=True))
    assert_close(loss.terms["class"], wanted / (sum(shares) if case.rule.element is None else 4), rtol=1e-6, atol=0)
    # A query that is matched learns its object, crowd or no crowd.
    inside = {**crowd, "boxes": torch.cat([region, found["pred_boxes"][2, :1].detach()])}
    inside |= {"labels": torch.tensor([0, 1]), "iscrowd": torch.tensor([1, 0]), "weights": torch.ones(2)}
    inside["masks"] = crowd["masks"].repeat(2, 1, 1)
    (slope,) = gradients(case.criterion(found, [TWO, TWO, inside]).total, [found["logits"]])
    assert (slope[2].abs().sum(-1) > 0).tolist() == [True, False, True, True, True, True, True]
    never = SetCriterion(CLASSES, ignore_coverage=1.1, class_loss=case.criterion.class_loss)
    assert never(found, [TWO, TWO, crowd]).stats["ignored"] == 0


# The same in another form


@EACH_PRESET
def test_forms_of_targets_agree(case: Case) -> None:
    found = scene.outputs(case.channels, masks=True)
    wanted = case.criterion(found, ANNOTATIONS)
    hugging_face = [
        {{"labels": "class_labels", "iscrowd": "ignore"}.get(k, k): v for k, v in image.items()}
        for image in ANNOTATIONS
    ]
    assert_same(case.criterion(found, hugging_face), wanted)
    fractions = scene.targets()
    assert_same(case.criterion(found, fractions), wanted)
    x1, y1, x2, y2 = cxcywh_to_xyxy(fractions.boxes).unbind(-1)
    pixels = fractions._replace(
        boxes=torch.stack([640 * x1, 480 * y1, 640 * x2, 480 * y2], -1),
        box_format="xyxy",
        normalized=False,
        image_size=(480, 640),
    )
    assert_same(case.criterion(found, pixels), wanted)


@EACH_PRESET
def test_padding_and_order_do_not_matter(case: Case) -> None:
    found, targets = scene.outputs(case.channels, masks=True), scene.targets()
    wanted = case.criterion(found, targets)
    names = ("labels", "boxes", "valid", "ignore", "weights", "masks")

    def changed(change: Any) -> Targets:
        return targets._replace(**{name: change(getattr(targets, name)) for name in names})

    padded = changed(lambda v: torch.cat([v, 0 * v[:, :2] if v.dtype != torch.bool else v[:, :2] & False], 1))
    assert_same(case.criterion(found, padded), wanted)
    junk = padded._replace(boxes=padded.boxes.masked_fill(~padded.valid.unsqueeze(-1), math.nan))
    assert_same(case.criterion(found, junk), wanted)
    assert_same(case.criterion(found, changed(lambda v: v[:, [3, 1, 0, 2]])), wanted)
    order = torch.tensor([2, 0, 1])
    moved = changed(lambda v: v[order])._replace(pixels=targets.pixels[order])
    assert_same(case.criterion(scene.mapped(found, lambda v: v[order]), moved), wanted)
    assert_same(case.criterion(scene.mapped(found, lambda v: v.flip(1)), targets), wanted)


@EACH_PRESET
def test_each_layer_is_compared_as_if_alone(case: Case) -> None:
    found = scene.outputs(case.channels, masks=True)
    whole = case.criterion(found, ANNOTATIONS)
    terms: dict[str, Tensor] = {}
    for suffix, part in scene.each_layer(found):
        alone = case.criterion({name: part[name] for name in scene.NAMES if name in part}, ANNOTATIONS)
        terms |= {name + suffix: term for name, term in alone.terms.items()}
        if not suffix:
            assert_same(LossTerms(whole.total, {}, whole.stats), LossTerms(whole.total, {}, alone.stats))
    assert whole.terms.keys() == terms.keys()
    for name, term in terms.items():
        assert_close(whole.terms[name], term)
    assert_close(whole.total, torch.stack(list(terms.values())).sum())


def test_match_is_what_the_last_layer_trains_on() -> None:
    for case in PRESETS.values():
        found, _ = leaves(scene.outputs(case.channels, masks=True))
        matching = case.criterion.match(found, ANNOTATIONS)
        assert isinstance(matching, Matching)
        assert matching.query_of_target.shape == (3, 4)
        assert matching.query_of_target[1, 1] == -1  # the crowd
        l1 = case.criterion(found, ANNOTATIONS).terms["l1"]
        trained = gradients(l1, [found["pred_boxes"]])[0].abs().sum(-1) > 0
        assert torch.equal(trained, matching.target_of_query >= 0)


def test_masks_may_have_a_part_in_the_matching() -> None:
    """Two queries with the same box: the mask decides, in `match` as in the loss."""
    boxes = TWO["boxes"][:1].repeat(2, 1)[None]
    masks = torch.full((1, 2, 12, 16), -9.0, dtype=torch.float64)
    masks[0, 1][TWO["masks"][0]] = 9.0
    found = {"logits": torch.zeros(1, 2, CLASSES + 1), "pred_boxes": boxes, "pred_masks": masks}
    image = {name: values[:1] for name, values in TWO.items()}
    plain = SetCriterion.detr(CLASSES)
    assert plain.match(found, [image]).query_of_target.tolist() == [[0]]
    masked = SetCriterion(CLASSES, assigner=HungarianAssigner(mask_weight=1.0, dice_weight=1.0))
    assert masked.match(found, [image]).query_of_target.tolist() == [[1]]
    assert masked(found, [image]).terms["dice"] < 0.01 < plain(found, [image]).terms["dice"]


def test_padding_of_images_is_no_part_of_masks() -> None:
    """The second image is smaller: its own masks on its own part of the batch cost what they cost alone."""
    found = scene.layer(CLASSES + 1, masks=True)
    spoilt = {**found, "pred_masks": found["pred_masks"].clone()}
    targets = scene.targets()
    assert targets.pixels is not None
    assert not targets.pixels[1].all()
    reached = torch.nn.functional.interpolate(targets.pixels[1][None, None].double(), scene.GRID)[0, 0] > 0
    spoilt["pred_masks"][1, :, ~reached] = 77.0
    criterion = SetCriterion.detr(CLASSES)
    wanted = criterion(found, targets).terms
    assert not reached.all()
    inner = {**found, "pred_masks": found["pred_masks"].clone()}
    inner["pred_masks"][1, :, 0, 0] += 1.0
    assert criterion(inner, targets).terms["mask"] != wanted["mask"]
    unpadded = targets._replace(pixels=None)
    assert criterion(found, unpadded).terms["mask"] != wanted["mask"]


def test_masks_at_points_are_unsure_about_their_value_and_nothing_else() -> None:
    criterion = SetCriterion(CLASSES, mask_points=400)
    found, inputs = leaves(scene.outputs(CLASSES + 1, masks=True))
    torch.manual_seed(0)
    first, whole = criterion(found, ANNOTATIONS), SetCriterion.detr(CLASSES)(found, ANNOTATIONS)
    second = criterion(found, ANNOTATIONS)
    assert list(first.terms) == list(whole.terms)
    for name, term in whole.terms.items():
        if name in ("mask", "dice"):
            assert first.terms[name] != second.terms[name]
            assert_close(first.terms[name], second.terms[name], rtol=0.2, atol=0)
        else:
            assert_close(first.terms[name], term)
    assert gradients(first.total, inputs)[2].any()


def test_normalizer_makes_micro_batches_one_batch() -> None:
    targets = scene.targets()
    for case in PRESETS.values():
        found = scene.outputs(case.channels, masks=True)
        whole = case.criterion(found, targets)
        number = whole.stats["targets"].double()
        first, second = (
            case.criterion(scene.of_images(found, part), scene.of_images(targets, part), normalizer=number).terms
            for part in (slice(0, 1), slice(1, 3))
        )
        for name, term in whole.terms.items():
            if not (name.startswith("class") and case.rule.element is None):  # softmax divides by its own queries
                assert_close(first[name] + second[name], term)


# How it is run


@EACH_PRESET
def test_traces_in_one_graph(case: Case) -> None:
    found, inputs = leaves(scene.layer(case.channels, masks=case is PRESETS["detr"]))
    compiled = torch.compile(case.criterion, fullgraph=True, backend="aot_eager")
    targets = scene.targets()
    wanted, got = case.criterion(found, targets), compiled(found, targets)
    assert_same(got, wanted)
    for grad, other in zip(gradients(got.total, inputs), gradients(wanted.total, inputs), strict=True):
        assert_close(grad, other)


@EACH_CASE
def test_reads_nothing_on_the_host(case: Case) -> None:
    """On a device without data: what a GPU would run, up to the solver, whose values nobody can look at."""
    found, inputs = leaves(scene.mapped(scene.outputs(case.channels, masks=True), lambda v: v.to("meta")))
    targets = scene.mapped(scene.targets(), lambda v: v.to("meta"))
    criterion = SetCriterion(CLASSES, class_loss=case.criterion.class_loss, scores=case.criterion.scores)
    with NoHostReads():
        gradients(criterion.to("meta")(found, targets).total, inputs)


def test_repr_tells_what_is_trained() -> None:
    text = repr(SetCriterion.rtdetr(4))
    for part in ("num_classes=4", "'l1': 5.0", "class_cost='focal'", "scores='iou'", "VarifocalLoss(alpha=0.75"):
        assert part in text
    assert repr(SetCriterion.yolos(4)) == repr(SetCriterion.detr(4)) != text
    assert "CrossEntropyLoss" in repr(SetCriterion.detr(4))
    assert SetCriterion.detr(2).to(torch.float64).class_loss.class_weights.dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes > 0, got 0"),
        ({"groups": 0}, "groups > 0, got 0"),
        ({"scores": "soft"}, "scores to be one of 'hard', 'iou', got 'soft'"),
        ({"scores": "iou"}, "scores='hard' for exclusive classes"),
        ({"mask_points": 0}, "mask_points .*got 0"),
        (
            {"class_loss": losses.SigmoidFocalLoss(), "assigner": HungarianAssigner.detr()},
            "class_cost='focal' .*SigmoidFocalLoss.*got 'softmax'",
        ),
    ],
)
def test_wrong_options_are_one_clear_sentence(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match="SetCriterion: expected .*" + message):
        SetCriterion(**({"num_classes": CLASSES} | options))


LAYER = scene.layer(CLASSES + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": None}, "outputs with 'logits', got .*pred_boxes"),
        ({"pred_boxes": None}, "outputs with 'pred_boxes', got .*logits"),
        ({"auxiliary_outputs": [{"logits": LAYER["logits"]}]}, "auxiliary_outputs.*0.* with 'pred_boxes', got"),
        ({"encoder_outputs": {"pred_boxes": LAYER["pred_boxes"]}}, "encoder_outputs with 'logits', got"),
        ({"logits": LAYER["logits"][..., :3]}, "4 class logits, the last for no object, got 3"),
        ({"auxiliary_outputs": [scene.layer(5)]}, "4 class logits, the last for no object, got 5"),
        ({"logits": LAYER["logits"][0]}, r"logits \(B, Q, C\) and pred_boxes \(B, Q, 4\), got \(7, 4\)"),
        ({"pred_boxes": LAYER["pred_boxes"][:, :5]}, r"got \(3, 7, 4\) and \(3, 5, 4\)"),
        ({"auxiliary_outputs": [{**LAYER, "pred_boxes": LAYER["pred_boxes"][..., :3]}]}, r"got .* and \(3, 7, 3\)"),
        ({"pred_masks": torch.zeros(3, 5, 3, 4)}, r"pred_masks \(B, Q, h, w\).*got \(3, 5, 3, 4\)"),
        ({name: values[:2] for name, values in LAYER.items()}, "targets of 2 images, got 3"),
    ],
)
def test_wrong_outputs_are_one_clear_sentence(change: Any, message: str) -> None:
    found = {name: values for name, values in (LAYER | change).items() if values is not None}
    with pytest.raises(ValueError, match="SetCriterion: expected .*" + message):
        SetCriterion.detr(CLASSES)(found, ANNOTATIONS)


def test_wrong_targets_are_one_clear_sentence() -> None:
    criterion = SetCriterion.detr(CLASSES)
    boxes = [{"boxes": image["boxes"], "labels": image["labels"]} for image in ANNOTATIONS]
    masks = {**LAYER, "pred_masks": torch.zeros(3, 7, 3, 4)}
    with pytest.raises(ValueError, match="SetCriterion: expected targets with masks, since"):
        criterion(masks, boxes)
    wrong = [{**TWO, "labels": torch.tensor([0, CLASSES])}, CROWDED, NOTHING]
    for case in PRESETS.values():
        with pytest.raises(ValueError, match=r"expected labels of targets in \[0, 3\), got 3"):
            case.criterion(scene.layer(case.channels), wrong)
    with pytest.raises(ValueError, match=r"SetCriterion: expected .*pred_boxes \(B, Q, 5\), got .*\(3, 7, 4\)"):
        criterion(LAYER, scene.targets()._replace(boxes=torch.zeros(3, 4, 5), box_format="cxcywha"))
    with pytest.raises(ValueError, match=r"expected targets with image_size=\(H, W\)"):
        criterion(LAYER, scene.targets()._replace(normalized=False))
    with pytest.raises(ValueError, match="expected keys 'labels'"):
        criterion(LAYER, [{"boxes": TWO["boxes"]}] * 3)


# Whether it trains


@pytest.mark.parametrize("case", [*PRESETS.values(), CASES["yolos"]], ids=[*PRESETS, "yolos"])
def test_four_images_are_learnt_by_heart(case: Case) -> None:
    """What a model with enough room would give for each of them."""
    torch.manual_seed(0)
    images: Any = [TWO, {**CROWDED, "iscrowd": torch.zeros(4)}, NOTHING, {**TWO, "labels": torch.tensor([0, 1])}]
    targets = scene.mapped(scene.targets(images), lambda v: v.float() if v.is_floating_point() else v)
    targets = targets._replace(weights=torch.ones_like(targets.weights))
    logits, places = torch.randn(4, 10, case.channels).requires_grad_(), torch.randn(4, 10, 4).requires_grad_()
    optimizer = torch.optim.Adam([logits, places], lr=0.1)
    for _ in range(120):
        optimizer.zero_grad()
        loss = case.criterion({"logits": logits, "pred_boxes": places.sigmoid()}, targets)
        loss.total.backward()
        optimizer.step()
    assert loss.stats["matched"] == loss.stats["targets"] == 8
    assert loss.stats["mean_iou"] > 0.9
    assert loss.stats["class_error"] == 0
    assert loss.stats["cardinality_error"] == 0
