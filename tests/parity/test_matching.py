"""HungarianAssigner beside the matchers of transformers: the same pairs, and what happens to broken predictions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import RTDetrConfig
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher
from transformers.loss.loss_for_object_detection import HungarianMatcher
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

from inputs import generator
from matchloss import Targets
from matchloss.assigners import HungarianAssigner
from tiny_detectors import CLASSES, annotations

pytestmark = pytest.mark.parity

Labels = list[dict[str, Tensor]]
FOCAL = RTDetrConfig(matcher_alpha=0.4, matcher_gamma=1.5, matcher_class_cost=1.0)
MATCHERS: dict[str, tuple[HungarianAssigner, Callable[..., list[tuple[Tensor, Tensor]]]]] = {
    "plain": (HungarianAssigner(), HungarianMatcher()),
    "detr": (HungarianAssigner.detr(), HungarianMatcher(1, 5, 2)),
    "boxes alone": (HungarianAssigner(class_weight=0), HungarianMatcher(0, 1, 1)),
    "deformable_detr": (HungarianAssigner.deformable_detr(), DeformableDetrHungarianMatcher(2, 5, 2)),
    "rtdetr": (HungarianAssigner.deformable_detr(), RTDetrHungarianMatcher(RTDetrConfig())),
    "other focal": (
        HungarianAssigner(class_cost="focal", l1_weight=5, giou_weight=2, alpha=0.4, gamma=1.5),
        RTDetrHungarianMatcher(FOCAL),
    ),
}
SCENES = {"some": (3, 0, 5, 1), "one": (1,), "none": (0, 0), "crowded": (20, 2, 14)}


def predictions(name: str, images: int, seed: int, queries: int = 12, dtype: torch.dtype = torch.float32):
    rng = generator(100 + seed)
    channels = CLASSES + (MATCHERS[name][0].class_cost == "softmax")
    logits = 2 * torch.randn(images, queries, channels, generator=rng, dtype=dtype)
    sizes = torch.rand(images, queries, 2, generator=rng, dtype=dtype) * 0.5 + 0.05
    return logits, torch.cat([torch.rand(images, queries, 2, generator=rng, dtype=dtype), sizes], -1)


def of_theirs(name: str, logits: Tensor, boxes: Tensor, labels: Labels) -> list[tuple[Tensor, Tensor]]:
    labels = [{**image, "boxes": image["boxes"].to(boxes.dtype)} for image in labels]
    return MATCHERS[name][1]({"logits": logits, "pred_boxes": boxes}, labels)


def padded(labels: Labels) -> Targets:
    bare = [{name: image[name] for name in ("boxes", "class_labels")} for image in labels]
    return Targets.from_list(bare, box_format="cxcywh", normalized=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", MATCHERS)
def test_the_pairs_are_theirs(name: str, scene: str, dtype: torch.dtype) -> None:
    for seed in range(12):
        labels = annotations(SCENES[scene], seed)
        logits, boxes = predictions(name, len(labels), seed, dtype=dtype)
        wanted = of_theirs(name, logits, boxes, labels)
        matching = MATCHERS[name][0](logits, boxes, padded(labels))
        pairs = matching.pairs()
        assert len(pairs) == len(wanted)
        for mine, theirs in zip(pairs, wanted, strict=True):
            assert torch.equal(torch.stack(mine), torch.stack(theirs))
        assert matching.stats["matched"] == sum(len(queries) for queries, _ in wanted)
        assert matching.stats["surplus"] == sum(max(count - 12, 0) for count in SCENES[scene])


@pytest.mark.parametrize("name", MATCHERS)
def test_the_costs_are_theirs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for module in ("loss_for_object_detection", "loss_deformable_detr", "loss_rt_detr"):
        path = f"transformers.loss.{module}.linear_sum_assignment"
        monkeypatch.setattr(path, lambda matrix: seen.append(torch.as_tensor(matrix)) or ([], []))
    labels = annotations((4, 4))
    logits, boxes = predictions(name, 2, 0, dtype=torch.float64)
    of_theirs(name, logits, boxes, labels)
    cost = MATCHERS[name][0].cost(logits, boxes, padded(labels))
    torch.testing.assert_close(cost.total, torch.stack(seen), rtol=1e-6, atol=1e-6)  # they add 1e-8 inside the log


def cost_of(pairs: list[tuple[Tensor, Tensor]], total: Tensor, keep: Tensor) -> Tensor:
    """Of the pairs whose target is kept, image by image."""
    return torch.stack(
        [total[image, queries, targets][keep[image, targets]].sum() for image, (queries, targets) in enumerate(pairs)]
    )


def test_a_class_that_is_nan_spoils_no_other_target_here_but_does_there() -> None:
    """Their sentinel is the largest float: beside it, differences of other costs are rounded away."""
    name, spoilt = "deformable_detr", 0
    for seed in range(60):
        labels = annotations((12,), seed)
        logits, boxes = predictions(name, 1, seed, queries=20)
        logits[..., 0] = torch.nan
        targets = padded(labels)
        keep = (targets.labels != 0) & targets.valid
        if keep.all() or not keep.any():
            continue
        alone = [{key: image[key][keep[0]] for key in ("boxes", "class_labels")} for image in labels]
        assigner = MATCHERS[name][0]
        total = assigner.cost(logits, boxes, targets).total
        best = assigner(logits, boxes, padded(alone))
        least = assigner.cost(logits, boxes, padded(alone)).total
        wanted = cost_of(best.pairs(), least, torch.ones(1, least.shape[-1], dtype=torch.bool))
        mine = assigner(logits, boxes, targets)
        torch.testing.assert_close(cost_of(mine.pairs(), total, keep), wanted)
        assert (mine.query_of_target[0][~keep[0]] == -1).all()
        assert mine.stats["broken"] == 20 * (~keep).sum()
        theirs = cost_of(of_theirs(name, logits, boxes, labels), total, keep)
        spoilt += bool(theirs > wanted + 1e-4)
    assert spoilt > 4  # 8 of 59 when written; with as many queries as targets nearly all


def test_they_match_a_target_that_is_broken_for_all_queries() -> None:
    labels = annotations((1,))
    logits, boxes = predictions("detr", 1, 0)
    logits[:] = torch.nan
    assert len(of_theirs("detr", logits, boxes, labels)[0][0]) == 1
    assert len(HungarianAssigner.detr()(logits, boxes, padded(labels)).pairs()[0][0]) == 0


@pytest.mark.parametrize("broken", ["inverted", "nan"])
def test_a_bad_box_raises_there_and_is_left_alone_here(broken: str) -> None:
    labels = annotations((3,))
    logits, boxes = predictions("detr", 1, 0)
    boxes[0, 4, 2] = -0.1 if broken == "inverted" else torch.nan
    with pytest.raises(ValueError, match="must be in"):
        of_theirs("detr", logits, boxes, labels)
    matching = HungarianAssigner.detr()(logits, boxes, padded(labels))
    assert matching.stats["matched"] == 3
    if broken == "nan":
        assert matching.target_of_query[0, 4] == -1
        assert matching.stats["broken"] == 3
