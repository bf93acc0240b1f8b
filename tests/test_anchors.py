"""Anchors on a grid, and boxes as deltas from them."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from inputs import generator
from matchloss.geometry import decode_deltas, encode_deltas, grid_anchors, xyxy_to_cxcywh


def test_order_is_level_row_column_ratio_scale() -> None:
    anchors = grid_anchors([(2, 3), (1, 1)], [8, 16], scales=[2.0, 4.0], ratios=[0.25, 1.0, 4.0])
    wanted = []
    for (height, width), stride in zip([(2, 3), (1, 1)], [8, 16], strict=True):
        for row in range(height):
            for column in range(width):
                for ratio in (0.25, 1.0, 4.0):
                    for scale in (2.0, 4.0):
                        side = scale * stride
                        wanted.append(
                            [(column + 0.5) * stride, (row + 0.5) * stride, side / ratio**0.5, side * ratio**0.5]
                        )
    torch.testing.assert_close(xyxy_to_cxcywh(anchors), torch.tensor(wanted))


def test_the_default_is_retinanet_s_nine() -> None:
    """Areas (4, 5.04, 6.35 strides)², height over width 1/2, 1, 2."""
    _, _, width, height = xyxy_to_cxcywh(grid_anchors([(1, 1)], [8])).unbind(-1)
    sides = [32.0, 32 * 2 ** (1 / 3), 32 * 2 ** (2 / 3)]
    torch.testing.assert_close((width * height).sqrt(), torch.tensor(sides * 3))
    torch.testing.assert_close(height / width, torch.tensor([0.5, 1.0, 2.0]).repeat_interleave(3))


def test_offset_moves_the_centres() -> None:
    for offset, first in ((0.0, 0.0), (0.5, 4.0), (1.0, 8.0)):
        centers = xyxy_to_cxcywh(grid_anchors([(1, 2)], [8], scales=[1.0], ratios=[1.0], offset=offset))[:, 0]
        assert centers.tolist() == [first, first + 8]


def test_half_precision_and_empty_levels() -> None:
    assert grid_anchors([(2, 2)], [8], dtype=torch.float16).dtype == torch.float16
    assert grid_anchors([(0, 2), (1, 1)], [8, 16]).shape == (9, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": [8, 16]}, "expected as many sizes as strides, got 1 and 2"),
        ({"scales": []}, r"expected positive scales, at least one, got \[\]"),
        ({"ratios": [1.0, 0.0]}, "expected positive ratios"),
        ({"strides": [-8]}, "expected positive strides"),
    ],
)
def test_grid_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid_anchors([(1, 1)], **{"strides": [8], **options})


def random_boxes(seed: int, count: int = 64) -> torch.Tensor:
    rng = generator(seed)
    corner = 600 * torch.rand(count, 2, generator=rng, dtype=torch.float64)
    sides = 1 + 300 * torch.rand(count, 2, generator=rng, dtype=torch.float64)
    return torch.cat([corner, corner + sides], -1)


def test_deltas_are_the_paper_s() -> None:
    boxes, anchors = random_boxes(0), random_boxes(1)
    (x, y, w, h), (ax, ay, aw, ah) = (xyxy_to_cxcywh(b).unbind(-1) for b in (boxes, anchors))
    wanted = torch.stack([(x - ax) / aw, (y - ay) / ah, (w / aw).log(), (h / ah).log()], -1)
    torch.testing.assert_close(encode_deltas(boxes, anchors), wanted)
    weighted = encode_deltas(boxes, anchors, weights=(10.0, 10.0, 5.0, 5.0))
    torch.testing.assert_close(weighted, wanted * torch.tensor([10.0, 10, 5, 5]))
    # A ratio beyond e^4.1 is cut, and the random boxes reach that.
    back = decode_deltas(weighted, anchors, weights=(10.0, 10.0, 5.0, 5.0), max_log_size=10.0)
    torch.testing.assert_close(back, boxes)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([1e-4, 1.0, 1e6]),
)
def test_round_trip_is_exact_but_for_the_last_digits(seed: int, dtype: torch.dtype, unit: float) -> None:
    boxes, anchors = (random_boxes(seed + i) for i in range(2))
    boxes, anchors = ((values * unit).to(dtype) for values in (boxes, anchors))
    back = decode_deltas(encode_deltas(boxes, anchors), anchors, max_log_size=10.0)
    assert back.dtype == dtype
    largest = torch.maximum(boxes.abs().amax(), anchors.abs().amax())
    assert (back - boxes).abs().max() <= 8 * torch.finfo(dtype).eps * largest


@given(st.integers(0, 10**6), st.sampled_from([0.25, 2.0, 1024.0]))
def test_deltas_do_not_change_with_the_scale(seed: int, unit: float) -> None:
    boxes, anchors = random_boxes(seed), random_boxes(seed + 1)
    assert torch.equal(encode_deltas(boxes * unit, anchors * unit), encode_deltas(boxes, anchors))


def test_digits_survive_far_from_the_origin() -> None:
    """Numbers at a million have steps of 1/16: the mean of two would be off by that, their differences are not."""
    anchors = torch.tensor([1e6, 1e6, 1e6 + 8, 1e6 + 8])
    boxes = anchors + torch.tensor([0.0625, 0.0, 0.0, 0.0])
    assert encode_deltas(boxes, anchors)[0].item() == 0.03125 / 8


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_boxes_without_size_have_finite_deltas(dtype: torch.dtype) -> None:
    anchors = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8], [4, 4, 4, 4], [0, 0, 8, 8]], dtype=dtype)
    boxes = torch.tensor([[2.0, 2, 2, 2], [6, 0, 2, 8], [4, 4, 4, 4], [0, 3, 8, 3]], dtype=dtype)
    deltas = encode_deltas(boxes, anchors)
    assert deltas.dtype == torch.float32
    assert deltas.isfinite().all()
    smallest = math.log(1e-6)
    assert deltas[0].tolist() == pytest.approx([-0.25, -0.25, smallest, smallest])
    assert deltas[1].tolist() == pytest.approx([0, 0, smallest, 0])


def test_huge_deltas_decode_to_finite_boxes() -> None:
    anchors = torch.tensor([0.0, 0.0, 8.0, 16.0])
    for value in (65504.0, 3e38, -3e38):
        deltas = torch.full((4,), value, requires_grad=True)
        boxes = decode_deltas(deltas, anchors)
        assert boxes.isfinite().all()
        (grad,) = torch.autograd.grad(boxes.sum(), deltas)
        assert grad.isfinite().all()
    width, height = decode_deltas(torch.tensor([0.0, 0.0, 9.0, 9.0]), anchors)[2:] * 2 - torch.tensor([8.0, 16.0])
    assert (width.item(), height.item()) == pytest.approx((8 * 62.5, 16 * 62.5))


def test_deltas_that_are_not_finite_are_seen() -> None:
    anchors = torch.tensor([0.0, 0.0, 8.0, 8.0])
    for place in range(4):
        for value in (math.inf, math.nan):
            deltas = torch.zeros(4)
            deltas[place] = value
            assert not decode_deltas(deltas, anchors).isfinite().all()


def test_gradients_of_the_coder() -> None:
    boxes, anchors = random_boxes(0, 5).requires_grad_(), random_boxes(1, 5)
    deltas = encode_deltas(boxes.detach(), anchors).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: encode_deltas(b, anchors), boxes)
    assert torch.autograd.gradcheck(lambda d: decode_deltas(d, anchors, max_log_size=10.0), deltas)


def test_coder_broadcasts_over_images_and_traces() -> None:
    deltas, anchors = torch.randn(2, 5, 4, generator=generator(0)), random_boxes(3, 5).float()
    boxes = decode_deltas(deltas, anchors)
    assert torch.equal(boxes[1], decode_deltas(deltas[1], anchors))
    compiled = torch.compile(
        lambda d: encode_deltas(decode_deltas(d, anchors), anchors), fullgraph=True, backend="eager"
    )
    torch.testing.assert_close(compiled(deltas), deltas, rtol=1e-4, atol=1e-5)


def test_coder_options_are_checked() -> None:
    box = torch.zeros(1, 4)
    with pytest.raises(ValueError, match=r"encode_deltas: expected four positive weights, got \[1.0, 1.0\]"):
        encode_deltas(box, box, weights=(1.0, 1.0))
    with pytest.raises(ValueError, match="decode_deltas: expected four positive weights"):
        decode_deltas(box, box, weights=(1.0, 1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="decode_deltas: expected max_log_size > 0"):
        decode_deltas(box, box, max_log_size=0.0)
