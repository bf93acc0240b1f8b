"""What holds for every assigner of this table, whatever its rule."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import matchloss
from host_reads import NoHostReads
from inputs import generator
from matching_scenes import FLAVOURS, SIDE, MatchingScene, matching_scene as double_scene
from matchloss import Assignment, Targets
from matchloss.assigners import ATSSAssigner, MaxIoUAssigner, SimOTAAssigner
from matchloss.assigners._ranking import first_places
from matchloss.geometry import regions

DTYPE = torch.float64
Assign = Callable[[Any, MatchingScene], Assignment]


def by_anchors(assigner: Any, scene: MatchingScene) -> Assignment:
    return assigner(scene.anchors, scene.targets)


def by_levels(assigner: Any, scene: MatchingScene) -> Assignment:
    return assigner(scene.anchors, scene.counts, scene.targets)


def by_predictions(assigner: Any, scene: MatchingScene) -> Assignment:
    return assigner(scene.scores, scene.boxes, scene.points, scene.targets, strides=scene.strides)


ASSIGNERS = (
    (by_anchors, MaxIoUAssigner()),
    (by_anchors, MaxIoUAssigner(conflict="last")),
    (by_anchors, MaxIoUAssigner(conflict="own")),
    (by_levels, ATSSAssigner()),
    (by_levels, ATSSAssigner(conflict="all", min_points=2)),
    (by_predictions, SimOTAAssigner()),
    (by_predictions, SimOTAAssigner.yolox()),
    (by_predictions, SimOTAAssigner.mmdet()),
)
IDS = [f"{type(assigner).__name__}-{number}" for number, (_, assigner) in enumerate(ASSIGNERS)]
over_assigners = pytest.mark.parametrize(("assign", "assigner"), ASSIGNERS, ids=IDS)
over_flavours = pytest.mark.parametrize("flavour", FLAVOURS)


@pytest.fixture(autouse=True, params=["kernel", "double", "plain"])
def _form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Single precision, which kernels take where there are any; double, which they leave to the plain form."""
    if request.param == "kernel":
        monkeypatch.setattr(sys.modules[__name__], "DTYPE", torch.float32)
    if request.param == "plain":
        with matchloss.reference():
            yield
    else:
        yield


def matching_scene(seed: int, flavour: str = "random", **sizes: int) -> MatchingScene:
    return to(double_scene(seed, flavour, **sizes), DTYPE)


def with_fields(scene: MatchingScene, **fields: Any) -> MatchingScene:
    return replace(scene, targets=scene.targets._replace(**fields))


def rows_of(targets: Targets, change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: change(getattr(targets, name)) for name in ("labels", "boxes", "valid", "ignore", "weights")}


def to(scene: MatchingScene, *args: Any) -> MatchingScene:
    tensors = {name: getattr(scene, name).to(*args) for name in ("anchors", "points", "strides", "scores", "boxes")}
    floats = {name: getattr(scene.targets, name).to(*args) for name in ("boxes", "weights")}
    others = {}
    if not isinstance(args[0], torch.dtype):
        others = {name: getattr(scene.targets, name).to(*args) for name in ("labels", "valid", "ignore")}
    return replace(scene, **tensors, targets=scene.targets._replace(**floats, **others))


def assert_equal(one: Assignment, other: Assignment) -> None:
    for name, a, b in zip(one._fields, one, other, strict=True):
        assert torch.equal(a, b), name


@over_flavours
@over_assigners
def test_the_parts_agree(assign: Assign, assigner: Any, flavour: str) -> None:
    for seed in range(10):
        scene = matching_scene(seed, flavour)
        found = assign(assigner, scene)
        positive = found.target_index >= 0
        shape = (3, len(scene.anchors))
        assert all(tensor.shape == shape for tensor in found)
        assert [tensor.dtype for tensor in found] == [torch.int64, torch.int64, DTYPE, torch.bool]
        assert (found.labels[~positive] == -1).all()
        assert (found.scores[~positive] == 0).all()
        assert not (found.ignore & positive).any()
        row = found.target_index.clamp(min=0)
        assert torch.equal(found.labels[positive], scene.targets.labels.gather(1, row)[positive])
        assert scene.usable.gather(1, row)[positive].all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()


@over_flavours
@over_assigners
def test_images_do_not_touch_each_other(assign: Assign, assigner: Any, flavour: str) -> None:
    scene = matching_scene(1, flavour)
    found = assign(assigner, scene)
    for image in range(3):
        one = slice(image, image + 1)
        alone = replace(scene, scores=scene.scores[one], boxes=scene.boxes[one])
        alone = with_fields(alone, **rows_of(scene.targets, lambda field, one=one: field[one]))
        assert_equal(assign(assigner, alone), Assignment(*(tensor[one] for tensor in found)))


@over_flavours
@over_assigners
def test_padding_does_not_matter(assign: Assign, assigner: Any, flavour: str) -> None:
    """Whatever stands in the padded rows, before the others or behind them."""
    scene = matching_scene(2, flavour)
    junk = matching_scene(3, flavour).targets._replace(valid=torch.zeros(3, 6, dtype=torch.bool))
    more = {
        name: torch.cat([getattr(junk, name), getattr(scene.targets, name), getattr(junk, name)], 1)
        for name in ("labels", "boxes", "valid", "ignore", "weights")
    }
    found, padded = assign(assigner, scene), assign(assigner, with_fields(scene, **more))
    assert_equal(found, padded._replace(target_index=torch.where(padded.target_index < 0, -1, padded.target_index - 6)))


@over_assigners
def test_the_order_of_targets_does_not_matter(assign: Assign, assigner: Any) -> None:
    if assigner == MaxIoUAssigner(conflict="last"):
        pytest.skip("the rule is about the order")
    turn = torch.tensor([4, 2, 0, 5, 1, 3])
    for seed in range(10):
        scene = matching_scene(seed, "random")
        found = assign(assigner, scene)
        turned = assign(assigner, with_fields(scene, **rows_of(scene.targets, lambda field: field[:, turn])))
        back = torch.where(turned.target_index < 0, -1, turn[turned.target_index.clamp(min=0)])
        assert_equal(found, turned._replace(target_index=back))


@over_flavours
@over_assigners
def test_chunks_do_not_matter(assign: Assign, assigner: Any, flavour: str, monkeypatch) -> None:
    scene = matching_scene(4, flavour)
    whole = assign(assigner, scene)
    monkeypatch.setattr(regions, "PAIRS_AT_ONCE", 1)
    assert_equal(assign(assigner, scene), whole)


@over_flavours
@over_assigners
def test_the_form_for_devices_is_equal_and_reads_nothing(assign: Assign, assigner: Any, flavour: str) -> None:
    for seed in range(5):
        scene = to(matching_scene(seed, flavour), torch.float32)
        found = assign(assigner, scene)
        with matchloss.reference():
            plain = assign(assigner, scene)
            if assign is not by_predictions:  # whose labels are checked on the CPU
                with NoHostReads():
                    assign(assigner, scene)
        assert_equal(found, plain)
        meta = assign(assigner, to(scene, "meta"))
        assert [tensor.shape for tensor in meta] == [tensor.shape for tensor in found]


@over_assigners
def test_traces_in_one_graph(assign: Assign, assigner: Any) -> None:
    torch._dynamo.reset()
    scene = to(matching_scene(5, "ties"), torch.float32)

    def call(anchors, points, strides, scores, boxes, fields):
        return assign(assigner, MatchingScene(anchors, scene.counts, points, strides, scores, boxes, Targets(*fields)))

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    found = compiled(scene.anchors, scene.points, scene.strides, scene.scores, scene.boxes, tuple(scene.targets[:5]))
    assert_equal(found, assign(assigner, scene))


@over_assigners
def test_nothing_to_match(assign: Assign, assigner: Any) -> None:
    scene = matching_scene(6)
    none = with_fields(scene, **rows_of(scene.targets, lambda field: field[:, :0]))
    padded = with_fields(scene, valid=torch.zeros_like(scene.targets.valid))
    for empty in (none, padded):
        found = assign(assigner, empty)
        assert (found.target_index == -1).all()
        assert (found.labels == -1).all()
        assert not found.ignore.any()
        assert not found.scores.any()


@over_assigners
def test_ignore_regions_alone(assign: Assign, assigner: Any) -> None:
    """An ignore region of the whole image: nothing is positive, nothing is background."""
    scene = matching_scene(7)
    region = torch.tensor([-100.0, -100.0, SIDE + 100.0, SIDE + 100.0], dtype=torch.float64).expand(3, 1, 4)
    yes = torch.ones(3, 1, dtype=torch.bool)
    found = assign(assigner, with_fields(scene, labels=yes.long(), boxes=region, valid=yes, ignore=yes, weights=yes))
    assert found.ignore.all()
    assert (found.target_index == -1).all()


@over_assigners
def test_no_anchors(assign: Assign, assigner: Any) -> None:
    scene = matching_scene(8)
    empty = replace(
        scene,
        anchors=scene.anchors[:0],
        counts=(0, 0, 0),
        points=scene.points[:0],
        strides=scene.strides[:0],
        scores=scene.scores[:, :0],
        boxes=scene.boxes[:, :0],
    )
    assert all(tensor.shape == (3, 0) for tensor in assign(assigner, empty))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@over_assigners
def test_half_precision_computes_in_float32(assign: Assign, assigner: Any, dtype: torch.dtype) -> None:
    half = to(matching_scene(9, "ties"), dtype)
    found = assign(assigner, half)
    assert found.scores.dtype == torch.float32
    assert_equal(found, assign(assigner, to(half, torch.float32)))


@over_assigners
def test_no_gradient_and_inputs_left_alone(assign: Assign, assigner: Any) -> None:
    scene = matching_scene(10)
    scene.scores.requires_grad_()
    scene.boxes.requires_grad_()
    before = [tensor.detach().clone() for tensor in (scene.anchors, scene.scores, scene.boxes, *scene.targets[:5])]
    found = assign(assigner, scene)
    assert not found.scores.requires_grad
    after = (scene.anchors, scene.scores, scene.boxes, *scene.targets[:5])
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@over_assigners
def test_anchors_or_predictions_that_are_not_finite_match_nothing(assign: Assign, assigner: Any) -> None:
    scene = matching_scene(11, targets=4)
    bad = torch.rand(len(scene.anchors), generator=generator(0)) < 0.3
    for value in (torch.nan, torch.inf):
        anchors, boxes = scene.anchors.clone(), scene.boxes.clone()
        anchors[bad, 1], boxes[:, bad, 1] = value, value
        found = assign(assigner, replace(scene, anchors=anchors, boxes=boxes))
        assert (found.target_index[:, bad] == -1).all()
    nothing = replace(scene, anchors=scene.anchors * torch.nan, boxes=scene.boxes * torch.nan)
    assert (assign(assigner, nothing).target_index == -1).all()


@over_assigners
def test_thousands_of_targets_are_streamed(assign: Assign, assigner: Any, monkeypatch) -> None:
    """No tensor over all targets and anchors is made: the largest is bounded by the chunk."""
    monkeypatch.setattr(regions, "PAIRS_AT_ONCE", 2**12)
    scene = matching_scene(12, batch=1, targets=3000)
    largest = 0

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for value in result if isinstance(result, tuple | list) else (result,):
                if isinstance(value, torch.Tensor):
                    largest = max(largest, value.numel())
            return result

    with Sizes():
        found = assign(assigner, scene)
    candidates = 3000 * 9 * 3  # of ATSS: nine of each level for each target
    assert largest <= 4 * candidates, "some numbers a candidate"
    assert largest < 3000 * len(scene.anchors) or assign is by_levels
    assert (found.target_index >= 0).any()


@over_assigners
def test_repr_tells_the_options(assign: Assign, assigner: Any) -> None:
    assert eval(repr(assigner)) == assigner


def test_wrong_shapes_are_named() -> None:
    scene = matching_scene(13)
    with pytest.raises(ValueError, match=r"MaxIoUAssigner: expected anchors of shape \(A, 4\), got \(49, 3\)"):
        MaxIoUAssigner()(scene.anchors[:, :3], scene.targets)
    with pytest.raises(ValueError, match=r"ATSSAssigner: expected anchors of shape \(A, 4\), got \(1, 49, 4\)"):
        ATSSAssigner()(scene.anchors[None], scene.counts, scene.targets)
    with pytest.raises(ValueError, match="SimOTAAssigner: expected strides of shape"):
        SimOTAAssigner()(scene.scores, scene.boxes, scene.points, scene.targets, strides=scene.strides[:5])
    with pytest.raises(ValueError, match="MaxIoUAssigner: expected upright targets, xyxy or cxcywh, got cxcywha"):
        MaxIoUAssigner()(scene.anchors, scene.targets._replace(box_format="cxcywha"))


def test_ranking_by_bits_is_ranking_by_value() -> None:
    """Zero of either sign is zero, equal values come in their order, NaN last."""
    values = torch.tensor([1.0, 0.0, -0.0, torch.inf, torch.nan, 1.0, 1e-45, 0.0])
    assert first_places(values, 8).tolist() == [1, 2, 7, 6, 0, 5, 3, 4]
    some = torch.rand(5, 1000, generator=generator(0)).mul(100).round()
    assert torch.equal(first_places(some, 60), some.sort(dim=1, stable=True).indices[:, :60])
