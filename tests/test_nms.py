"""Suppression: exact against the loop, ties, classes, broken boxes, soft scores."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import matchloss
from inputs import generator
from matchloss.geometry import box_diou, box_iou, pairwise
from matchloss.postprocess import nms, non_maximum_suppression, soft_nms
from reference import nms as ref

OVERLAPS = {"iou": box_iou, "diou": box_diou}


def crowd(seed: int, count: int, *, batch: int = 2, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes about a few places; with `ties` of whole numbers, with few different scores."""
    rng = generator(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng)

    middles = 100 * uniform(batch, 5, 2)
    place = torch.randint(0, 5, (batch, count, 1), generator=rng).expand(-1, -1, 2)
    corner = middles.gather(1, place) + 12 * uniform(batch, count, 2)
    boxes = torch.cat([corner, corner + 10 + 20 * uniform(batch, count, 2)], -1)
    scores, labels = uniform(batch, count), torch.randint(0, 3, (batch, count), generator=rng)
    return ((boxes / 8).round() * 8, (scores * 4).round() / 4, labels) if ties else (boxes, scores, labels)


def kept_lists(kept: nms.Kept) -> list[list[int]]:
    return [row[valid].tolist() for row, valid in zip(kept.indices, kept.valid, strict=True)]


def by_hand(boxes, scores, labels, *, criterion="iou", threshold=0.5, score_threshold=-math.inf) -> list[list[int]]:
    overlap = pairwise(OVERLAPS[criterion], boxes, boxes).numpy()
    usable = (scores.isfinite() & boxes.isfinite().all(-1) & (scores > score_threshold)).numpy()
    scores, labels = scores.numpy(), labels.numpy()
    return [ref.greedy(overlap[i], scores[i], labels[i], usable[i], threshold) for i in range(len(scores))]


@pytest.fixture(params=["fast", "plain"])
def form(request, monkeypatch):
    """With and without a kernel, in blocks of some boxes."""
    monkeypatch.setattr(nms, "PAIRS_AT_ONCE", 1000)
    if request.param == "plain":
        with matchloss.reference():
            yield
    else:
        yield


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 70),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    criterion=st.sampled_from(["iou", "diou"]),
    ties=st.booleans(),
)
@pytest.mark.usefixtures("form")
def test_equals_the_loop(seed: int, count: int, threshold: float, criterion: str, ties: bool) -> None:
    scene = crowd(seed, count, ties=ties)
    kept = non_maximum_suppression(*scene, threshold=threshold, criterion=criterion)
    assert kept_lists(kept) == by_hand(*scene, threshold=threshold, criterion=criterion)
    assert kept.indices.dtype == torch.int64
    assert kept.indices.shape == kept.valid.shape == (2, count)
    assert not kept.indices[~kept.valid].any()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("criterion", ["iou", "diou"])
@pytest.mark.parametrize("seed", range(3))
def test_kernel_equals_plain_on_many_boxes(seed: int, criterion: str, ties: bool) -> None:
    boxes, scores, labels = crowd(seed, 700, ties=ties)
    boxes[0, ::50, 2:] = boxes[0, ::50, :2]  # no area
    boxes[1, ::60] = boxes[1, ::60][:, [2, 3, 0, 1]]  # inverted
    boxes = boxes * torch.tensor([[[1.0]], [[1e-3]]])
    fast = non_maximum_suppression(boxes, scores, labels, criterion=criterion)
    with matchloss.reference():
        plain = non_maximum_suppression(boxes, scores, labels, criterion=criterion)
    assert torch.equal(fast.indices, plain.indices)
    assert torch.equal(fast.valid, plain.valid)
    assert kept_lists(fast) == by_hand(boxes, scores, labels, criterion=criterion)


@pytest.mark.usefixtures("form")
def test_a_long_chain_is_settled() -> None:
    """Each box suppresses the next alone, so every second one is kept, in as many rounds as there are boxes."""
    left = torch.arange(60.0)
    boxes = torch.stack([left, torch.zeros(60), left + 2, torch.ones(60)], -1)
    kept = non_maximum_suppression(boxes, -left, threshold=0.3)
    assert kept.indices[kept.valid].tolist() == list(range(0, 60, 2))


@pytest.mark.usefixtures("form")
def test_an_overlap_equal_to_the_threshold_is_allowed() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8], [0.0, 0, 8, 4]])
    scores = torch.tensor([0.9, 0.8])
    assert non_maximum_suppression(boxes, scores, threshold=0.5).valid.tolist() == [True, True]
    assert non_maximum_suppression(boxes, scores, threshold=0.4999).valid.tolist() == [True, False]


@pytest.mark.usefixtures("form")
def test_equal_scores_go_to_the_lower_index() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8]]).repeat(50, 1)
    boxes[20:] += 100
    kept = non_maximum_suppression(boxes, torch.full((50,), 0.5))
    assert kept.indices[kept.valid].tolist() == [0, 20]


@pytest.mark.usefixtures("form")
def test_distance_spares_boxes_whose_centres_are_apart() -> None:
    """IoU 1/3 beside each other, IoU 1/3 one in the other: 1/3 - 16 / (144 + 64) = 0.256 and 1/3."""
    beside = torch.tensor([[0.0, 0, 8, 8], [4.0, 0, 12, 8]])
    within = torch.tensor([[0.0, 0, 8, 8], [8 / 3, 0, 16 / 3, 8]])
    for boxes, wanted in ((beside, [True, True]), (within, [True, False])):
        scores = torch.tensor([0.9, 0.8])
        assert non_maximum_suppression(boxes, scores, threshold=0.3).valid.tolist() == [True, False]
        assert non_maximum_suppression(boxes, scores, threshold=0.3, criterion="diou").valid.tolist() == wanted


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.usefixtures("form")
def test_classes_stay_apart_at_large_coordinates(dtype: torch.dtype) -> None:
    """Shifting boxes by label times the largest coordinate: in float16 class 79 overflows, in bfloat16 boxes melt."""
    box = torch.tensor([[3000.0, 3000, 3008, 3008]], dtype=dtype).repeat(160, 1)
    labels = torch.arange(160) % 80
    scores = torch.linspace(0.9, 0.1, 160, dtype=torch.float64)
    kept = non_maximum_suppression(box, scores, labels)
    assert kept.indices[kept.valid].tolist() == list(range(80))


@pytest.mark.usefixtures("form")
def test_shapes_without_boxes_images_or_labels() -> None:
    for shape in ((0,), (2, 0), (0, 3), (2, 0, 5)):
        kept = non_maximum_suppression(torch.zeros(*shape, 4), torch.zeros(shape))
        assert kept.indices.shape == kept.valid.shape == shape
        assert soft_nms(torch.zeros(*shape, 4), torch.zeros(shape)).shape == shape
    boxes, scores, labels = crowd(0, 24, batch=6)
    flat = non_maximum_suppression(boxes, scores, labels, max_detections=3)
    folded = non_maximum_suppression(
        boxes.view(2, 3, 24, 4), scores.view(2, 3, 24), labels.view(2, 3, 24), max_detections=3
    )
    assert torch.equal(folded.indices.view(6, 3), flat.indices)
    for image in range(6):
        one = non_maximum_suppression(boxes[image], scores[image], labels[image], max_detections=3)
        assert torch.equal(one.indices, flat.indices[image])


@pytest.mark.usefixtures("form")
def test_bounds_on_scores_candidates_and_detections() -> None:
    boxes, scores, labels = crowd(1, 60)
    everything = kept_lists(non_maximum_suppression(boxes, scores, labels))
    bounded = non_maximum_suppression(boxes, scores, labels, score_threshold=0.4)
    assert kept_lists(bounded) == [[i for i in row if scores[b, i] > 0.4] for b, row in enumerate(everything)]
    few = non_maximum_suppression(boxes, scores, labels, max_detections=2)
    assert kept_lists(few) == [row[:2] for row in everything]
    for image, row in enumerate(kept_lists(non_maximum_suppression(boxes, scores, labels, candidates=10))):
        best = scores[image].argsort(descending=True)[:10]
        assert row == [i for i in everything[image] if i in best]
    # A threshold is exclusive, as everywhere.
    assert not non_maximum_suppression(boxes[:, :1], scores[:, :1], score_threshold=float(scores[0, 0])).valid[0].any()


@pytest.mark.usefixtures("form")
def test_broken_boxes_are_dropped_and_suppress_nothing() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8]]).repeat(7, 1)
    boxes[0, 1], boxes[1, 2] = torch.nan, torch.inf
    scores = torch.tensor([0.9, 0.9, torch.nan, torch.inf, -torch.inf, -1.5, -1.0])
    kept = non_maximum_suppression(boxes, scores)
    assert kept.indices[kept.valid].tolist() == [6], "negative scores are logits, and count"
    assert (soft_nms(boxes, scores) == 0).all()
    nothing = non_maximum_suppression(boxes[:3], scores[:3])
    assert not nothing.valid.any()
    assert not nothing.indices.any()


def test_inputs_are_left_alone() -> None:
    scene = crowd(2, 30)
    copies = [values.clone() for values in scene]
    non_maximum_suppression(*scene)
    soft_nms(*scene)
    assert all(torch.equal(one, other) for one, other in zip(scene, copies, strict=True))


def test_memory_is_bounded_by_the_block(monkeypatch) -> None:
    """No tensor of the plain form has as many elements as all pairs of boxes."""
    monkeypatch.setattr(nms, "PAIRS_AT_ONCE", 2**14)
    largest = 0

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for value in result if isinstance(result, tuple | list) else (result,):
                if isinstance(value, Tensor):
                    largest = max(largest, value.numel())
            return result

    boxes, scores, labels = crowd(0, 512, batch=1)
    with matchloss.reference(), Sizes():
        non_maximum_suppression(boxes, scores, labels)
    assert largest <= 2**14


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 25),
    method=st.sampled_from(["linear", "gaussian"]),
    sigma=st.sampled_from([0.1, 0.5]),
    threshold=st.sampled_from([0.0, 0.3, 0.6]),
    score_threshold=st.sampled_from([0.0, 0.001, 0.2]),
    ties=st.booleans(),
)
def test_soft_scores_equal_the_loop(
    seed: int, count: int, method: str, sigma: float, threshold: float, score_threshold: float, ties: bool
) -> None:
    boxes, scores, labels = crowd(seed, count, ties=ties)
    boxes, scores = boxes.double(), scores.double()
    options = {"method": method, "sigma": sigma, "threshold": threshold, "score_threshold": score_threshold}
    found = soft_nms(boxes, scores, labels, **options)
    with matchloss.reference():
        assert torch.equal(soft_nms(boxes, scores, labels, **options), found)
    overlap = pairwise(box_iou, boxes, boxes).numpy()
    for image in range(2):
        wanted = ref.soft(overlap[image], scores[image].numpy(), labels[image].numpy(), np.ones(count, bool), **options)
        np.testing.assert_allclose(found[image].numpy(), wanted, rtol=1e-12)


def test_soft_scores_of_the_best_few() -> None:
    boxes, scores, labels = crowd(4, 30)
    everything = soft_nms(boxes, scores, labels)
    few = soft_nms(boxes, scores, labels, max_detections=5)
    assert ((few > 0).sum(1) == 5).all()
    assert torch.equal(few[few > 0], everything[few > 0])


@pytest.mark.parametrize("function", [non_maximum_suppression, soft_nms], ids=lambda f: f.__name__)
def test_wrong_inputs_are_named(function) -> None:
    boxes, scores, labels = crowd(0, 5)
    name = function.__name__
    with pytest.raises(ValueError, match=rf"{name}: expected boxes \(..., N, 4\) and scores \(..., N\), got"):
        function(boxes[:, :4], scores)
    with pytest.raises(ValueError, match=f"{name}: expected integer labels of the scores' shape"):
        function(boxes, scores, labels[:, :4])
    with pytest.raises(ValueError, match=f"{name}: expected integer labels of the scores' shape"):
        function(boxes, scores, labels.float())
    with pytest.raises(ValueError, match=f"{name}: expected boxes of a floating dtype, got int64"):
        function(boxes.long(), scores)
    with pytest.raises(ValueError, match=f"{name}: expected max_detections > 0, got 0"):
        function(boxes, scores, max_detections=0)


def test_wrong_options_are_named() -> None:
    boxes, scores, _ = crowd(0, 5)
    with pytest.raises(ValueError, match="expected criterion to be one of 'iou', 'diou', got 'giou'"):
        non_maximum_suppression(boxes, scores, criterion="giou")
    with pytest.raises(ValueError, match="expected candidates > 0, got 0"):
        non_maximum_suppression(boxes, scores, candidates=0)
    with pytest.raises(ValueError, match="expected method to be one of 'linear', 'gaussian', got 'hard'"):
        soft_nms(boxes, scores, method="hard")
    with pytest.raises(ValueError, match="expected sigma > 0"):
        soft_nms(boxes, scores, sigma=0.0)
