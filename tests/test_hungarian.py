"""Hungarian matching: its costs by their definition, the least sum, what is never matched, and the kernel's costs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import matchloss
from host_reads import NoHostReads
from inputs import generator
from matchloss import Matching, Targets
from matchloss._core import has_numba
from matchloss.assigners import HungarianAssigner
from reference.set_prediction import costs

CLASSES = 4
ASSIGNERS = {
    "plain": HungarianAssigner(),
    "detr": HungarianAssigner.detr(),
    "deformable_detr": HungarianAssigner.deformable_detr(),
    "gamma": HungarianAssigner(class_cost="focal", class_weight=1.5, alpha=0.6, gamma=1.3),
    "class alone": HungarianAssigner(l1_weight=0, giou_weight=0),
    "boxes alone": HungarianAssigner(class_weight=0, giou_weight=3.0),
}
over_assigners = pytest.mark.parametrize("name", ASSIGNERS)
FIELDS = ("labels", "boxes", "valid", "ignore", "weights")


@dataclass(frozen=True)
class Scene:
    """What is matched with what."""

    logits: Tensor
    boxes: Tensor
    targets: Targets

    def to(self, *args: Any) -> "Scene":
        boxes = self.targets.boxes.to(*args)
        return Scene(self.logits.to(*args), self.boxes.to(*args), self.targets._replace(boxes=boxes))

    def with_targets(self, **fields: Tensor) -> "Scene":
        return replace(self, targets=self.targets._replace(**fields))

    def rows(self, change: Callable[[Tensor], Tensor]) -> "Scene":
        return self.with_targets(**{name: change(getattr(self.targets, name)) for name in FIELDS})

    @property
    def usable(self) -> Tensor:
        return self.targets.valid & ~self.targets.ignore


def scene(
    name: str = "detr", seed: int = 0, *, leading: tuple[int, ...] = (3,), queries: int = 9, targets: int = 5
) -> Scene:
    """Some targets are padding, some ignore regions; float64."""
    rng = generator(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    channels = CLASSES + (ASSIGNERS[name].class_cost == "softmax")
    logits = 2 * torch.randn(*leading, queries, channels, generator=rng, dtype=torch.float64)
    boxes = torch.cat([uniform(*leading, queries, 2), 0.5 * uniform(*leading, queries, 2)], -1)
    shape = leading[-1], targets
    fields = Targets(
        labels=torch.randint(0, CLASSES, shape, generator=rng),
        boxes=torch.cat([uniform(*shape, 2), 0.01 + 0.5 * uniform(*shape, 2)], -1),
        valid=uniform(*shape) < 0.85,
        ignore=uniform(*shape) < 0.15,
        weights=torch.ones(shape, dtype=torch.float64),
        box_format="cxcywh",
        normalized=True,
    )
    return Scene(logits, boxes, fields)


def match(name: str, scene: Scene) -> Matching:
    return ASSIGNERS[name](scene.logits, scene.boxes, scene.targets)


def reference_costs(name: str, scene: Scene, image: int) -> tuple[np.ndarray, ...]:
    """Class, L1, minus GIoU and their weighted sum, (Q, M) each."""
    rule = ASSIGNERS[name]
    arrays = [
        values[image].numpy() for values in (scene.logits, scene.boxes, scene.targets.labels, scene.targets.boxes)
    ]
    parts = costs(*arrays, kind=rule.class_cost, alpha=rule.alpha, gamma=rule.gamma)
    weights = rule.class_weight, rule.l1_weight, rule.giou_weight
    return *parts, sum(weight * part for weight, part in zip(weights, parts, strict=True))


def assert_equal(one: Matching, other: Matching) -> None:
    assert torch.equal(one.query_of_target, other.query_of_target)
    assert torch.equal(one.target_of_query, other.target_of_query)
    assert {name: int(stat) for name, stat in one.stats.items()} == {k: int(stat) for k, stat in other.stats.items()}


@over_assigners
def test_costs_are_those_of_the_formula(name: str) -> None:
    for seed in range(4):
        one = scene(name, seed)
        cost = ASSIGNERS[name].cost(one.logits, one.boxes, one.targets)
        for image in range(3):
            wanted = reference_costs(name, one, image)
            used = one.usable[image].numpy()
            for part, by_hand in zip(cost[:4], wanted, strict=True):
                np.testing.assert_allclose(part[image].numpy()[:, used], by_hand[:, used], rtol=1e-10, atol=1e-12)
            assert torch.isinf(cost.total[image][:, ~one.usable[image]]).all()
        assert all(part.mT.is_contiguous() for part in cost[:4])
        assert cost.mask is None
        assert cost.dice is None


@over_assigners
def test_the_sum_is_the_least_there_is(name: str) -> None:
    for seed in range(20):
        one = scene(name, seed, targets=1 + seed)
        found = match(name, one)
        for image in range(3):
            total = reference_costs(name, one, image)[3].T[one.usable[image].numpy()]
            rows, columns = linear_sum_assignment(total)
            queries = torch.full((len(total),), -1)
            queries[rows] = torch.from_numpy(columns)
            mine = found.query_of_target[image][one.usable[image]]
            if name != "class alone":  # in which targets of one class cost the same
                assert torch.equal(mine, queries)
            taking = np.flatnonzero(mine >= 0)
            assert total[taking, mine[taking]].sum() == pytest.approx(total[rows, columns].sum())
        assert (found.query_of_target[~one.usable] == -1).all()
        count = one.usable.sum(1)
        assert found.stats["matched"] == count.clamp(max=9).sum()
        assert found.stats["surplus"] == (count - 9).clamp(min=0).sum()
        assert found.stats["broken"] == 0


def test_presets_have_the_published_weights() -> None:
    weights = {name: (rule.class_weight, rule.l1_weight, rule.giou_weight) for name, rule in ASSIGNERS.items()}
    assert weights["plain"] == (1, 1, 1)
    assert weights["detr"] == (1, 5, 2)
    assert weights["deformable_detr"] == (2, 5, 2)
    assert (ASSIGNERS["detr"].class_cost, ASSIGNERS["deformable_detr"].class_cost) == ("softmax", "focal")
    assert (ASSIGNERS["deformable_detr"].alpha, ASSIGNERS["deformable_detr"].gamma) == (0.25, 2)
    assert all(eval(repr(rule)) == rule for rule in ASSIGNERS.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@over_assigners
def test_layers_and_groups_are_matched_alone(name: str, dtype: torch.dtype) -> None:
    one = scene(name, 1, leading=(2, 4, 3)).to(dtype)
    one.logits[1, 2, 0, 4] = torch.nan
    found = match(name, one)
    stats = dict.fromkeys(found.stats, 0)
    for layer in range(2):
        for group in range(4):
            alone = match(name, Scene(one.logits[layer, group], one.boxes[layer, group], one.targets))
            assert torch.equal(found.query_of_target[layer, group], alone.query_of_target)
            assert torch.equal(found.target_of_query[layer, group], alone.target_of_query)
            stats = {key: stats[key] + int(stat) for key, stat in alone.stats.items()}
            for image in range(3):
                part = slice(image, image + 1)
                image_alone = Scene(one.logits[layer, group, part], one.boxes[layer, group, part], one.targets)
                single = match(name, image_alone.rows(lambda field, part=part: field[part]))
                assert torch.equal(single.query_of_target, alone.query_of_target[part])
    assert stats == {key: int(stat) for key, stat in found.stats.items()}


@over_assigners
def test_padding_does_not_matter(name: str) -> None:
    one, junk = scene(name, 2), scene(name, 3).targets
    for value in (0.5, torch.nan, -1e30):
        more = {
            key: torch.cat([getattr(junk, key), getattr(one.targets, key), getattr(junk, key)], 1) for key in FIELDS
        }
        more["valid"][:, :5] = more["valid"][:, 10:] = False
        more["boxes"][:, :5] = more["boxes"][:, 10:] = value
        more["labels"][:, :5] = -100
        found, padded = match(name, one), match(name, one.with_targets(**more))
        assert torch.equal(padded.query_of_target[:, 5:10], found.query_of_target)
        back = torch.where(padded.target_of_query < 0, -1, padded.target_of_query - 5)
        assert_equal(found, padded._replace(query_of_target=padded.query_of_target[:, 5:10], target_of_query=back))


@pytest.mark.parametrize("broken", ["nan", "inf", "inverted", "ignore"])
@over_assigners
def test_targets_that_cannot_be_matched_leave_the_others_alone(name: str, broken: str) -> None:
    for dtype in (torch.float32, torch.float64):
        one = scene(name, 4).to(dtype)
        fields = {key: getattr(one.targets, key).clone() for key in FIELDS}
        if broken == "ignore":
            fields["ignore"][:, 1] = True
        else:
            fields["boxes"][:, 1, 2] = {"nan": torch.nan, "inf": torch.inf, "inverted": -0.2}[broken]
        bad = match(name, one.with_targets(**fields))
        fields["valid"][:, 1] = False
        assert_equal(bad, match(name, one.with_targets(**fields)))
        assert (bad.query_of_target[:, 1] == -1).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@over_assigners
def test_broken_queries_are_never_matched_and_leave_the_others_alone(name: str, value: float) -> None:
    bad = torch.tensor([0, 3, 4])
    rest = torch.tensor([1, 2, 5, 6, 7, 8])
    for dtype in (torch.float32, torch.float64):
        for targets in (4, 8):
            one = scene(name, 5, targets=targets).to(dtype)
            logits, boxes = one.logits.clone(), one.boxes.clone()
            if name != "class alone":
                boxes[:, bad[:2], 1] = value
            if name != "boxes alone":
                logits[:, bad[2:]] = value
            found = match(name, replace(one, logits=logits, boxes=boxes))
            alone = match(name, replace(one, logits=one.logits[:, rest], boxes=one.boxes[:, rest]))
            some = bad if name not in ("class alone", "boxes alone") else bad[2:] if name == "class alone" else bad[:2]
            assert (found.target_of_query[:, some] == -1).all()
            assert found.stats["broken"] == len(some) * one.usable.sum()
            if len(some) == len(bad):
                assert torch.equal(found.target_of_query[:, rest], alone.target_of_query)
                assert found.stats["matched"] == alone.stats["matched"]


@over_assigners
def test_everything_broken(name: str) -> None:
    one = scene(name, 6)
    for dtype in (torch.float32, torch.float64):
        found = match(name, replace(one, logits=one.logits * torch.nan, boxes=one.boxes * torch.nan).to(dtype))
        assert (found.query_of_target == -1).all()
        assert (found.target_of_query == -1).all()
        assert found.stats["broken"] == 9 * one.usable.sum()
        assert found.stats["matched"] == 0


@over_assigners
def test_nothing_to_match(name: str) -> None:
    one = scene(name, 7)
    for dtype in (torch.float32, torch.float64):
        for empty in (
            one.rows(lambda field: field[:, :0]),
            one.with_targets(valid=torch.zeros_like(one.targets.valid)),
        ):
            found = match(name, empty.to(dtype))
            assert found.query_of_target.shape == empty.targets.labels.shape
            assert (found.query_of_target == -1).all()
            assert torch.equal(found.target_of_query, torch.full((3, 9), -1))
            assert [len(queries) for queries, _ in found.pairs()] == [0, 0, 0]
            assert not any(found.stats.values())
            cost = ASSIGNERS[name].cost(*(empty.to(dtype).logits, empty.to(dtype).boxes, empty.targets))
            assert cost.total.shape == (3, 9, empty.targets.labels.shape[1])
        no_queries = match(name, replace(one, logits=one.logits[:, :0], boxes=one.boxes[:, :0]).to(dtype))
        assert (no_queries.query_of_target == -1).all()
        assert no_queries.target_of_query.shape == (3, 0)
        assert no_queries.stats["surplus"] == one.usable.sum()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@over_assigners
def test_half_precision_computes_in_float32(name: str, dtype: torch.dtype) -> None:
    one = scene(name, 8)
    half = replace(one, logits=(15 * one.logits).clamp(-30, 30)).to(dtype)
    cost = ASSIGNERS[name].cost(half.logits, half.boxes, half.targets)
    assert cost.total.dtype == torch.float32
    assert cost.total.mT[one.usable].isfinite().all()
    assert_equal(match(name, half), match(name, half.to(torch.float32)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(match(name, half), match(name, half.to(torch.float32)))


@pytest.mark.parametrize("name", [name for name in ASSIGNERS if name != "class alone"])  # which has ties
def test_the_order_of_queries_and_targets_does_not_matter(name: str) -> None:
    for seed, targets in ((9, 5), (10, 12)):
        one = scene(name, seed, targets=targets)
        found = match(name, one)
        turn, order = (torch.randperm(n, generator=generator(seed)) for n in (9, targets))
        turned = replace(one, logits=one.logits[:, turn], boxes=one.boxes[:, turn]).rows(
            lambda field, o=order: field[:, o]
        )
        other = match(name, turned)
        for mine, theirs in zip(found.pairs(), other.pairs(), strict=True):
            back = zip(turn[theirs[0]].tolist(), order[theirs[1]].tolist(), strict=True)
            assert sorted(back) == sorted(zip(*(side.tolist() for side in mine), strict=True))


def test_boxes_of_targets_in_any_format() -> None:
    one = scene("detr", 11)
    found, size = match("detr", one), torch.tensor([40.0, 20.0] * 2, dtype=torch.float64)
    pixels = one.targets.boxes * size
    as_pixels = one.targets._replace(boxes=pixels, normalized=False, image_size=(20, 40))
    corners = torch.cat([pixels[..., :2] - pixels[..., 2:] / 2, pixels[..., :2] + pixels[..., 2:] / 2], -1)
    for targets in (as_pixels, as_pixels._replace(boxes=corners, box_format="xyxy")):
        assert_equal(match("detr", replace(one, targets=targets)), found)


def test_surplus_targets_are_counted_and_may_share() -> None:
    for dtype in (torch.float32, torch.float64):
        one = scene("detr", 12, queries=3, targets=8).to(dtype)
        one.logits[0, 1] = torch.nan
        left = match("detr", one)
        shared = replace(ASSIGNERS["detr"], surplus="share")(one.logits, one.boxes, one.targets)
        assert left.stats["surplus"] == (one.usable.sum(1) - 3).clamp(min=0).sum()
        assert torch.equal(shared.target_of_query, left.target_of_query)
        total = ASSIGNERS["detr"].cost(one.logits, one.boxes, one.targets).total
        cheapest = torch.where(total.isfinite(), total, torch.inf).argmin(1)
        without = (left.query_of_target < 0) & one.usable
        assert without.any()
        assert torch.equal(shared.query_of_target[without], cheapest[without])
        assert torch.equal(shared.query_of_target[~without], left.query_of_target[~without])


def test_pairs_are_in_the_form_of_detr() -> None:
    one = scene("detr", 13, leading=(2, 3))
    found = match("detr", one)
    layers = found.pairs()
    assert [len(layer) for layer in layers] == [3, 3]
    for layer in range(2):
        for image, (queries, targets) in enumerate(layers[layer]):
            assert (queries.dtype, targets.dtype) == (torch.int64, torch.int64)
            assert torch.equal(queries, queries.sort().values)
            assert torch.equal(found.target_of_query[layer, image, queries], targets)
            assert torch.equal(found.query_of_target[layer, image, targets], queries)
            assert len(queries) == one.usable[image].sum()


def test_wrong_arguments_are_named() -> None:
    one = scene("detr", 14)
    with pytest.raises(
        ValueError, match=r"HungarianAssigner: expected a weight other than 0, got class_weight, .* all 0"
    ):
        HungarianAssigner(class_weight=0, l1_weight=0, giou_weight=0)
    with pytest.raises(ValueError, match="HungarianAssigner: expected class_cost to be one of 'softmax', 'focal'"):
        HungarianAssigner(class_cost="sigmoid")
    with pytest.raises(ValueError, match="HungarianAssigner: expected l1_weight >= 0, got -1"):
        HungarianAssigner(l1_weight=-1)
    with pytest.raises(ValueError, match=r"HungarianAssigner: expected alpha in \[0, 1\], got 2"):
        HungarianAssigner(alpha=2)
    with pytest.raises(ValueError, match=r"HungarianAssigner: expected boxes of shape \(3, 9, 4\), got \(3, 9, 3\)"):
        match("detr", replace(one, boxes=one.boxes[..., :3]))
    with pytest.raises(ValueError, match=r"HungarianAssigner: expected logits of shape .*, got \(9, 5\)"):
        match("detr", replace(one, logits=one.logits[0], boxes=one.boxes[0]))
    with pytest.raises(ValueError, match="HungarianAssigner: expected targets of 3 images, got 2"):
        match("detr", one.rows(lambda field: field[:2]))
    with pytest.raises(ValueError, match="HungarianAssigner: expected logits of a floating dtype, got int64"):
        match("detr", replace(one, logits=one.logits.long()))
    with pytest.raises(ValueError, match=r"HungarianAssigner: expected labels of targets in \[0, 4\), got 4"):
        match("detr", one.with_targets(labels=torch.full((3, 5), CLASSES)))
    # In float32 by the kernel too.
    wrong = one.with_targets(labels=torch.full((3, 5), CLASSES))
    with pytest.raises(ValueError, match=r"HungarianAssigner: expected labels of targets in \[0, 4\), got 4"):
        HungarianAssigner.detr()(wrong.logits.float(), wrong.boxes.float(), wrong.targets)
    with pytest.raises(ValueError, match="HungarianAssigner: expected equal shapes, got labels="):
        match("detr", one.with_targets(valid=torch.ones(3, 4, dtype=torch.bool)))
    with pytest.raises(ValueError, match="HungarianAssigner: expected equal shapes, got labels="):
        match("detr", one.with_targets(boxes=torch.ones(3, 4, 4)))
    with pytest.raises(ValueError, match="HungarianAssigner: expected masks, since mask_weight"):
        HungarianAssigner(mask_weight=1)(one.logits, one.boxes, one.targets)


@pytest.mark.parametrize("kind", ["bce", "focal"])
def test_mask_costs_are_those_of_the_formula(kind: str) -> None:
    one, rng = scene("detr", 15, queries=6, targets=3), generator(15)
    masks = 3 * torch.randn(3, 6, 4, 5, generator=rng, dtype=torch.float64)
    actual, pixels = torch.rand(3, 3, 4, 5, generator=rng) < 0.4, torch.rand(3, 4, 5, generator=rng) < 0.8
    masks[:, :, 0, 0], pixels[:, 0, 0] = torch.nan, False  # in the padding
    targets = one.targets._replace(masks=actual, pixels=pixels)
    assigner = HungarianAssigner(mask_weight=2, dice_weight=3, mask_cost=kind)
    cost, total = assigner.cost(one.logits, one.boxes, targets, masks=masks), np.full((3, 6, 3), np.inf)
    for image, q, t in np.ndindex(3, 6, 3):
        x, y = masks[image, q][pixels[image]].numpy(), actual[image, t][pixels[image]].numpy().astype(float)
        p, element = 1 / (1 + np.exp(-x)), y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
        if kind == "focal":
            element = element * np.where(y > 0, 0.25 * (1 - p) ** 2, 0.75 * p**2)
        assert cost.mask[image, q, t].item() == pytest.approx(element.mean())
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        assert cost.dice[image, q, t].item() == pytest.approx(dice)
        if one.usable[image, t]:
            parts = cost.class_cost, cost.l1, cost.giou
            total[image, q, t] = sum(part[image, q, t].item() for part in parts) + 2 * element.mean() + 3 * dice
    np.testing.assert_allclose(cost.total.numpy(), total)
    single = assigner(one.logits.float(), one.boxes.float(), targets, masks=masks.float())
    for image in range(3):
        used = np.flatnonzero(one.usable[image].numpy())
        rows, columns = linear_sum_assignment(total[image].T[used])
        assert single.query_of_target[image].numpy()[used[rows]].tolist() == columns.tolist()


@over_assigners
def test_traces_in_one_graph_and_reads_nothing(name: str) -> None:
    torch._dynamo.reset()
    one = scene(name, 16).to(torch.float32)
    found = match(name, one)

    def call(logits: Tensor, boxes: Tensor, fields: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        targets = Targets(*fields, box_format="cxcywh", normalized=True)
        matching = ASSIGNERS[name](logits, boxes, targets)
        return matching.query_of_target, matching.target_of_query

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")(one.logits, one.boxes, tuple(one.targets[:5]))
    assert torch.equal(compiled[0], found.query_of_target)
    assert torch.equal(compiled[1], found.target_of_query)
    meta = replace(one.rows(lambda field: field.to("meta")), logits=one.logits.to("meta"), boxes=one.boxes.to("meta"))
    with NoHostReads():
        found_there = match(name, meta)
    assert found_there.query_of_target.shape == found.query_of_target.shape
    assert found_there.target_of_query.shape == found.target_of_query.shape


@over_assigners
def test_no_gradient_and_inputs_left_alone(name: str) -> None:
    one = scene(name, 17).to(torch.float32)
    one.logits.requires_grad_()
    one.boxes.requires_grad_()
    tensors = one.logits, one.boxes, *one.targets[:5]
    before = [tensor.detach().clone() for tensor in tensors]
    match(name, one)
    assert not ASSIGNERS[name].cost(one.logits, one.boxes, one.targets).total.requires_grad
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, before, strict=True))


ODD = (0.0, -0.0, 1e-30, -0.3, 1e30, 1e38, -3e38, torch.inf, -torch.inf, torch.nan)
needs_kernel = pytest.mark.skipif(not has_numba(), reason="compares the kernel with the plain form")


def totals(name: str, one: Scene) -> tuple[Tensor, Tensor]:
    """Of the rows that count, by the kernel and by the plain form."""
    rule = ASSIGNERS[name]
    queries = rule._read(one.logits, one.boxes, one.targets)
    by_kernel = rule._total(queries)
    with matchloss.reference():
        plain = rule._total(queries)
    if name != "gamma":  # for which there is no kernel
        assert torch.isinf(by_kernel.movedim(-1, 0)[..., ~queries.matchable]).all()
    return by_kernel.movedim(-1, 0)[..., queries.matchable], plain.movedim(-1, 0)[..., queries.matchable]


def assert_same_costs(by_kernel: Tensor, plain: Tensor) -> None:
    finite = plain.isfinite()
    assert torch.equal(by_kernel.isfinite(), finite), "the same pairs are broken"
    torch.testing.assert_close(by_kernel[finite], plain[finite], rtol=2e-6, atol=2e-6)


@needs_kernel
@over_assigners
def test_costs_of_the_kernel_are_those_of_the_plain_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from matchloss.kernels import matching_cost_cpu

    for seed, leading in enumerate(((3,), (2, 3), (2, 2, 1), (1,))):
        one = scene(name, 20 + seed, leading=leading, queries=37, targets=6).to(torch.float32)
        for factor in (1.0, 10.0, 100.0):
            larger = replace(one, logits=factor * one.logits)
            by_kernel, plain = totals(name, larger)
            assert_same_costs(by_kernel, plain)
            with monkeypatch.context() as change:
                change.setattr(matching_cost_cpu, "PAIRS_A_THREAD", 1)
                change.setattr(torch, "get_num_threads", lambda: 3)
                assert torch.equal(totals(name, larger)[0], by_kernel)
        strided = replace(one, logits=one.logits.mT.contiguous().mT, boxes=one.boxes.mT.contiguous().mT)
        assert torch.equal(totals(name, strided)[0], totals(name, one)[0])


@needs_kernel
@over_assigners
def test_odd_numbers_break_the_same_pairs_in_the_kernel(name: str) -> None:
    """Boxes without area, equal points, inverted and huge ones, and what is not finite, of queries and of targets."""
    one = scene(name, 30, leading=(2,), queries=60, targets=12).to(torch.float32)
    rng, numbers = generator(30), torch.tensor(ODD)
    logits, boxes, wanted = one.logits.clone(), one.boxes.clone(), one.targets.boxes.clone()
    for values, share in ((logits, 0.05), (boxes, 0.2), (wanted, 0.2)):
        odd = numbers[torch.randint(0, len(ODD), values.shape, generator=rng)]
        values.copy_(torch.where(torch.rand(values.shape, generator=rng) < share, odd, values))
    wanted[:, 0, 2:] = 0.0
    boxes[:, :5] = wanted[:, :1]  # the same point
    boxes[:, 5:9] = one.targets.boxes[:, 1:2]
    odd_scene = replace(one, logits=logits, boxes=boxes).with_targets(boxes=wanted)
    by_kernel, plain = totals(name, odd_scene)
    assert 0.1 < plain.isfinite().float().mean() <= 1.0
    assert_same_costs(by_kernel, plain)
    with matchloss.reference():
        wanted_match = match(name, odd_scene)
    assert match(name, odd_scene).stats["matched"] == wanted_match.stats["matched"]
    assert match(name, odd_scene).stats["broken"] == wanted_match.stats["broken"]


@needs_kernel
def test_the_focal_cost_has_its_digits_at_any_logit() -> None:
    logits = torch.cat([torch.linspace(-120, 120, 4801), torch.tensor([1e-20, -1e-20, 0.0, 3e4, -3e4, 1e30, -1e30])])
    one = Scene(logits.view(1, -1, 1), torch.zeros(1, len(logits), 4), scene().targets).to(torch.float32)
    target = {"boxes": torch.zeros(1, 4), "labels": torch.zeros(1, dtype=torch.long)}
    one = replace(one, targets=Targets.from_list([target], box_format="cxcywh", normalized=True))
    rule = HungarianAssigner(class_cost="focal", l1_weight=0, giou_weight=1)
    found = rule._total(rule._read(one.logits, one.boxes, one.targets))[0, 0].double().numpy() + 1  # less the GIoU of 1
    x = logits.double().numpy()
    p = np.exp(-np.logaddexp(0, -x))
    exact = 0.25 * np.exp(-2 * np.logaddexp(0, x)) * np.logaddexp(0, -x) - 0.75 * p**2 * np.logaddexp(0, x)
    np.testing.assert_allclose(found, exact, rtol=2e-7, atol=2e-7)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[str, Scene]:
    """Few numbers, so that many things are equal; sometimes one is broken."""
    name = draw(st.sampled_from(list(ASSIGNERS)))
    queries, targets = draw(st.integers(1, 6)), draw(st.integers(0, 6))
    one = scene(name, draw(st.integers(0, 9)), leading=(2,), queries=queries, targets=targets).to(torch.float32)
    coarse = replace(one, logits=one.logits.round(), boxes=(4 * one.boxes).round() / 4)
    coarse = coarse.with_targets(boxes=(4 * one.targets.boxes).round() / 4)
    if draw(st.booleans()):
        coarse.logits[0, draw(st.integers(0, queries - 1))] = draw(st.sampled_from([torch.nan, torch.inf, 1e4]))
    return name, coarse


@settings(max_examples=150, deadline=None, derandomize=True)
@given(scenes())
def test_any_scene_is_matched_one_to_one_at_the_least_sum(drawn: tuple[str, Scene]) -> None:
    name, one = drawn
    found = match(name, one)
    total = ASSIGNERS[name].cost(one.logits, one.boxes, one.targets).total
    for image, (queries, targets) in enumerate(found.pairs()):
        assert len(set(queries.tolist())) == len(set(targets.tolist())) == len(queries)
        assert one.usable[image][targets].all()
        cost = total[image].double().numpy()
        finite = np.isfinite(cost)
        assert finite[queries, targets].all()
        block = cost[np.ix_(finite.any(1), finite.any(0))]
        best = linear_sum_assignment(block)
        assert len(queries) == len(best[0])
        assert cost[queries, targets].sum() == pytest.approx(block[best].sum(), abs=1e-4)
    inverse = torch.full_like(found.target_of_query, -1)
    image, target = (found.query_of_target >= 0).nonzero(as_tuple=True)
    inverse[image, found.query_of_target[image, target]] = target
    assert torch.equal(inverse, found.target_of_query)
