"""Matching costs by the kernel for a GPU, beside the plain form."""

import pytest
import torch
from torch import Tensor

import matchloss
from inputs import generator
from matchloss import Targets
from matchloss.assigners import HungarianAssigner

CLASSES = 20  # more than are read at a time
ASSIGNERS = {
    "detr": HungarianAssigner.detr(),
    "deformable_detr": HungarianAssigner.deformable_detr(),
    "gamma": HungarianAssigner(class_cost="focal", class_weight=1.5, alpha=0.6, gamma=1.3),
    "no gamma": HungarianAssigner(class_cost="focal", gamma=0.0),
    "class alone": HungarianAssigner(l1_weight=0, giou_weight=0),
    "boxes alone": HungarianAssigner(class_weight=0, giou_weight=3.0),
}
ODD = (0.0, -0.0, 1e-30, -0.3, 1e30, 1e38, -3e38, torch.inf, -torch.inf, torch.nan)
over_assigners = pytest.mark.parametrize("name", ASSIGNERS)

Scene = tuple[Tensor, Tensor, Targets]


def scene(device: str, *, leading: tuple[int, ...] = (2, 3), queries: int = 37, targets: int = 11) -> Scene:
    """Some targets are padding."""
    rng = generator(queries)

    def boxes(*shape: int) -> Tensor:
        return torch.cat([torch.rand(*shape, 2, generator=rng), 0.5 * torch.rand(*shape, 2, generator=rng)], -1)

    logits, shape = 3 * torch.randn(*leading, queries, CLASSES, generator=rng), (leading[-1], targets)
    labels = torch.randint(0, CLASSES - 1, shape, generator=rng)
    valid = torch.rand(shape, generator=rng) < 0.8
    fields = [labels, boxes(*shape), valid, torch.zeros_like(valid), torch.ones(shape)]
    padded = Targets(*(field.to(device) for field in fields), box_format="cxcywh", normalized=True)
    return logits.to(device), boxes(*leading, queries).to(device), padded


def totals(name: str, one: Scene) -> tuple[Tensor, Tensor]:
    """Of the targets that count, by the kernel and by the plain form."""
    rule = ASSIGNERS[name]
    queries = rule._read(*one)
    by_kernel = rule._total(queries)
    with matchloss.reference():
        plain = rule._total(queries)
    assert by_kernel.shape == plain.shape
    assert by_kernel.dtype == torch.float32
    assert torch.isinf(by_kernel.movedim(-1, 0)[..., ~queries.matchable]).all()
    return by_kernel.movedim(-1, 0)[..., queries.matchable], plain.movedim(-1, 0)[..., queries.matchable]


def assert_same_costs(by_kernel: Tensor, plain: Tensor) -> None:
    finite = plain.isfinite()
    assert torch.equal(by_kernel.isfinite(), finite), "the same pairs are broken"
    torch.testing.assert_close(by_kernel[finite], plain[finite], rtol=5e-6, atol=5e-6)


@over_assigners
def test_costs_are_those_of_the_plain_form(name: str, device: str) -> None:
    for leading, queries, targets in (((2, 2), 37, 11), ((2,), 130, 8), ((1,), 1, 1)):
        logits, boxes, fields = scene(device, leading=leading, queries=queries, targets=targets)
        assert_same_costs(*totals(name, (logits, boxes, fields)))
    assert_same_costs(*totals(name, (30 * logits, boxes, fields)))


@over_assigners
def test_odd_numbers_break_the_same_pairs(name: str, device: str) -> None:
    """Boxes without area, equal points, inverted and huge ones, and what is not finite, of queries and of targets."""
    logits, boxes, fields = scene(device, leading=(2,), queries=60, targets=12)
    rng, numbers = generator(30), torch.tensor(ODD)
    broken = [values.cpu().clone() for values in (logits, boxes, fields.boxes)]
    for values, share in zip(broken, (0.02, 0.2, 0.2), strict=True):
        odd = numbers[torch.randint(0, len(ODD), values.shape, generator=rng)]
        values.copy_(torch.where(torch.rand(values.shape, generator=rng) < share, odd, values))
    broken[2][:, 0, 2:] = 0.0
    broken[1][:, :5] = broken[2][:, :1]  # the same point
    logits, boxes, wanted = (values.to(device) for values in broken)
    by_kernel, plain = totals(name, (logits, boxes, fields._replace(boxes=wanted)))
    assert plain.isfinite().any()
    assert_same_costs(by_kernel, plain)


def test_digits_at_any_logit(device: str) -> None:
    """Beside the formula in float64."""
    x = torch.cat([torch.linspace(-120, 120, 801), torch.tensor([1e-20, -1e-20, 0.0, 3e4, -3e4, 1e30, -1e30])])
    target = {"boxes": torch.zeros(1, 4, device=device), "labels": torch.zeros(1, dtype=torch.long, device=device)}
    targets = Targets.from_list([target], box_format="cxcywh", normalized=True)
    rule = HungarianAssigner(class_cost="focal", l1_weight=0, giou_weight=1)
    queries = rule._read(x.view(1, -1, 1).to(device), torch.zeros(1, len(x), 4, device=device), targets)
    found = rule._total(queries)[0, 0].cpu().double() + 1  # less the GIoU of 1
    x = x.double()
    positive, negative = torch.logaddexp(-x, torch.zeros(())), torch.logaddexp(x, torch.zeros(()))
    exact = 0.25 * torch.exp(-2 * negative) * positive - 0.75 * torch.exp(-2 * positive) * negative
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["detr", "deformable_detr"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_strides(name: str, dtype: torch.dtype, device: str) -> None:
    logits, boxes, targets = scene(device, leading=(2,))
    half = logits.to(dtype), boxes.to(dtype), targets
    assert_same_costs(*totals(name, half))
    wide = half[0].float(), half[1].float(), targets
    strided = (
        wide[0].mT.contiguous().mT,
        wide[1].mT.contiguous().mT,
        targets._replace(labels=targets.labels.T.contiguous().T),
    )
    assert torch.equal(totals(name, strided)[0], totals(name, wide)[0])
    assert torch.equal(totals(name, half)[0], totals(name, wide)[0])


@over_assigners
def test_matches_as_the_plain_form_does(name: str, device: str) -> None:
    one = scene(device, leading=(2, 1), queries=9, targets=5)
    found = ASSIGNERS[name](*one)
    with matchloss.reference():
        wanted = ASSIGNERS[name](*one)
    if name != "class alone":  # in which targets of one class cost the same
        assert torch.equal(found.query_of_target, wanted.query_of_target)
        assert torch.equal(found.target_of_query, wanted.target_of_query)
    assert {k: int(v) for k, v in found.stats.items()} == {k: int(v) for k, v in wanted.stats.items()}


@pytest.mark.parametrize("empty", ["targets", "queries"])
def test_nothing_to_match(empty: str, device: str) -> None:
    one = scene(device, leading=(2,), **{empty: 0})
    found = ASSIGNERS["detr"](*one)
    assert (found.query_of_target == -1).all()
    assert found.target_of_query.shape == one[0].shape[:-1]


def test_the_kernel_is_taken(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from matchloss.kernels import matching_cost_cuda

    def fail(*arguments: object, **options: object) -> Tensor:
        raise RuntimeError("taken")

    logits, boxes, targets = scene(device, leading=(2,))
    monkeypatch.setattr(matching_cost_cuda, "total_costs", fail)
    for rule in ASSIGNERS.values():
        with pytest.raises(RuntimeError, match="taken"):
            rule(logits, boxes, targets)
    wide = targets._replace(boxes=targets.boxes.double())
    ASSIGNERS["detr"](logits.double(), boxes.double(), wide)  # in float64 the plain form, and the solver's kernel


@pytest.mark.parametrize("name", ["detr", "deformable_detr"])
def test_compiles_in_one_graph(name: str, device: str) -> None:
    torch._dynamo.reset()
    logits, boxes, targets = scene(device, leading=(1,), queries=9, targets=5)

    def call(logits: Tensor, boxes: Tensor, fields: tuple[Tensor, ...]) -> Tensor:
        padded = Targets(*fields, box_format="cxcywh", normalized=True)
        return ASSIGNERS[name](logits, boxes, padded).query_of_target

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    wanted = ASSIGNERS[name](logits, boxes, targets).query_of_target
    assert torch.equal(compiled(logits, boxes, tuple(targets[:5])), wanted)
