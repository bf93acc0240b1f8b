"""Average precision: a library computes it, so these tests ask whether it is asked for the right thing."""

import logging
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from matchloss.recipes.box_metrics import Detected, average_precision
from matchloss.recipes.data import Truth

CLASSES = ["cell", "dust", "ash"]


def truth(*rows: tuple[float, ...]) -> Truth:
    """Rows of x1, y1, x2, y2, label, ignore."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Truth(table[:, :4], table[:, 4].long(), table[:, 5].bool())


def detected(*rows: tuple[float, ...]) -> Detected:
    """Rows of x1, y1, x2, y2, label, score."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detected(table[:, :4], table[:, 5], table[:, 4].long())


def iou(box: Tensor, others: Tensor) -> Tensor:
    low, high = box[:2].maximum(others[:, :2]), box[2:].minimum(others[:, 2:])
    inner = (high - low).clamp_min(0).prod(1)
    return inner / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - inner)


def by_hand(predictions: list[Detected], truths: list[Truth], label: int, threshold: float) -> float:
    """AP of a class at one IoU, written out: greedy matching by score, precision at 101 recalls. No ignored boxes."""
    rows, count = [], 0
    for found, one in zip(predictions, truths, strict=True):
        targets = one.boxes[one.labels == label]
        count += len(targets)
        free = torch.ones(len(targets), dtype=torch.bool)
        mine = found.labels == label
        order = found.scores[mine].argsort(descending=True)[:100]
        for box, score in zip(found.boxes[mine][order], found.scores[mine][order], strict=True):
            overlaps = torch.where(free, iou(box, targets), -1.0) if len(targets) else torch.empty(0)
            hit = len(targets) > 0 and bool(overlaps.max() >= threshold)
            if hit:
                free[overlaps.argmax()] = False
            rows.append((float(score), hit))
    if count == 0:
        return math.nan
    hits = np.array([hit for _, hit in sorted(rows, key=lambda row: -row[0])], float)
    recall = hits.cumsum() / count
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float(np.mean([max(precision[recall >= r - 1e-12], default=0.0) for r in np.linspace(0, 1, 101)]))


def scene(seed: int) -> tuple[list[Detected], list[Truth]]:
    """Ten images; some have no objects, some no detections. No object of the class "ash"."""
    rng = torch.Generator().manual_seed(seed)
    predictions, truths = [], []
    for image in range(10):
        many = 0 if image == 2 else int(torch.randint(1, 9, (), generator=rng))
        corner = 200 * torch.rand(many, 2, generator=rng)
        boxes = torch.cat([corner, corner + 10 + 60 * torch.rand(many, 2, generator=rng)], 1)
        labels = torch.randint(0, 2, (many,), generator=rng)
        truths.append(Truth(boxes, labels, torch.zeros(many, dtype=torch.bool)))
        near = boxes.repeat(2, 1) + 4 * torch.randn(2 * many, 4, generator=rng)
        wild = 200 * torch.rand(3, 2, generator=rng)
        guesses = torch.cat([near, torch.cat([wild, wild + 30], 1)])[: 0 if image == 5 else None]
        kinds = torch.cat([labels, labels, torch.randint(0, 3, (3,), generator=rng)])[: len(guesses)]
        predictions.append(Detected(guesses, torch.rand(len(guesses), generator=rng), kinds))
    return predictions, truths


@pytest.mark.parametrize("seed", range(3))
def test_as_written_out(seed: int):
    predictions, truths = scene(seed)
    scores = average_precision(predictions, truths, CLASSES)
    thresholds = [0.5 + 0.05 * step for step in range(10)]
    table = np.array([[by_hand(predictions, truths, label, t) for t in thresholds] for label in range(2)])
    assert 0.05 < table.mean() < 0.9
    np.testing.assert_allclose(scores.ap_by_class[:2], table.mean(1), atol=1e-9)
    np.testing.assert_allclose(scores.ap50_by_class[:2], table[:, 0], atol=1e-9)
    np.testing.assert_allclose(scores[:3], [table.mean(), table[:, 0].mean(), table[:, 5].mean()], atol=1e-9)
    assert math.isnan(scores.ap_by_class[2])
    assert math.isnan(scores.ap50_by_class[2])


def test_plain_cases():
    one = truth((0, 0, 10, 10, 0, 0))
    assert average_precision([detected((0, 0, 10, 10, 0, 0.1))], [one], CLASSES).ap == 1.0
    # IoU 0.8: right at 0.5 to 0.75, and at 0.8 itself by COCO's >=.
    assert average_precision([detected((0, 0, 10, 8, 0, 0.1))], [one], CLASSES).ap == pytest.approx(0.7)
    assert average_precision([detected((0, 0, 10, 7, 0, 0.1))], [one], CLASSES)[1:3] == (1.0, 0.0)
    assert average_precision([detected((0, 0, 10, 10, 1, 0.1))], [one], CLASSES).ap == 0.0  # the wrong class
    assert average_precision([detected()], [one], CLASSES)[:3] == (0.0, 0.0, 0.0)
    two = average_precision([detected((0, 0, 10, 10, 0, 0.1)), detected()], [one, truth((0, 0, 9, 9, 1, 0))], CLASSES)
    assert (two.ap, two.ap50_by_class[:2]) == (0.5, [1.0, 0.0])


def test_ignored_boxes_are_neither_right_nor_wrong():
    crowd = truth((0, 0, 10, 10, 0, 0), (50, 50, 100, 100, 0, 1))
    right, other = (0, 0, 10, 10, 0, 0.1), (60, 60, 70, 70, 0, 0.9)
    assert average_precision([detected(right, other, other)], [crowd], CLASSES).ap == 1.0
    assert average_precision([detected(right, (60, 60, 70, 70, 1, 0.9))], [crowd], CLASSES).ap == 1.0
    plain = truth((0, 0, 10, 10, 0, 0))
    assert average_precision([detected(right, other)], [plain], CLASSES).ap == pytest.approx(0.5)
    only = average_precision([detected(other)], [truth((50, 50, 100, 100, 0, 1))], CLASSES)
    assert math.isnan(only.ap)


def test_nothing_to_find_is_nan():
    for predictions, truths in (([], []), ([detected()], [truth()]), ([detected((0, 0, 9, 9, 0, 1))], [truth()])):
        scores = average_precision(predictions, truths, CLASSES)
        assert all(math.isnan(value) for value in (*scores[:3], *scores.ap_by_class, *scores.ap50_by_class))
        assert len(scores.ap_by_class) == len(scores.ap50_by_class) == 3


def test_a_detection_that_is_not_finite_is_none():
    one = truth((0, 0, 10, 10, 0, 0))
    wrong = [(math.nan, 0, 5, 5, 0, 0.9), (0, 0, math.inf, 5, 0, 0.9), (0, 0, 10, 10, 0, math.nan)]
    assert average_precision([detected((0, 0, 10, 10, 0, 0.1), *wrong)], [one], CLASSES).ap == 1.0
    half = detected((0, 0, 10, 10, 0, 0.5))
    assert (
        average_precision([half._replace(boxes=half.boxes.half(), scores=half.scores.half())], [one], CLASSES).ap == 1
    )


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="got 1 predictions for 2 images"):
        average_precision([detected()], [truth(), truth()], CLASSES)
    for label in (3, -1):
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
            average_precision([detected((0, 0, 9, 9, label, 1))], [truth((0, 0, 9, 9, 0, 0))], CLASSES)


def test_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        average_precision(*scene(0), CLASSES)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
