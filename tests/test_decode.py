"""Decoders give back the boxes that outputs describe, and criteria with their decoders learn four images by heart."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dense_scenes as scene
from matchloss.criteria import RetinaNetCriterion, TaskAlignedCriterion
from matchloss.geometry import distances_from_boxes, encode_deltas, grid_anchors, grid_points
from matchloss.postprocess import decode_retinanet, decode_task_aligned, select_detections
from matchloss.types import Detections

SIZES = [(6, 8), (3, 4)]
BOXES = torch.tensor([[4.0, 4.0, 28.0, 20.0], [30.0, 10.0, 60.0, 44.0]])


def sure(count: int, channels: int, where: list[int], labels: list[int]) -> Tensor:
    """(1, count, channels) logits that are sure of nothing but these."""
    logits = torch.full((1, count, channels), -9.0)
    for row, label in zip(where, labels, strict=True):
        logits[0, row, label] = 5.0 - row / 100
    return logits


def check(found: Detections, labels: list[int]) -> None:
    assert found.valid.tolist() == [[True, True, *[False] * (found.valid.shape[1] - 2)]]
    torch.testing.assert_close(found.boxes[0, :2], BOXES, rtol=0, atol=1e-3)
    assert found.labels[0, :2].tolist() == labels
    assert (found.labels[0, 2:] == -1).all()
    assert not found.boxes[0, 2:].any()
    assert not found.scores[0, 2:].any()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_points_give_their_boxes_back(activation: str) -> None:
    points = grid_points(SIZES, scene.STRIDES)
    cells = distances_from_boxes(points.centers, BOXES[:, None]) / points.strides[:, None]  # (2, A, 4)
    nearest = [8 + 2, 48 + 4 + 2]  # in the first box, and on the coarse level in the second
    distances = torch.zeros(1, 60, 4)
    for box, row in enumerate(nearest):
        distances[0, row] = cells[box, row]
    logits = sure(60, 4, nearest, [2, 0])
    if activation == "softmax":  # the last is background
        logits[..., 3] = 0.0
    else:
        logits = logits[..., :3]
    for outputs in ({"logits": logits, "distances": distances}, {"logits": logits.half(), "distances": distances}):
        found = decode_task_aligned(outputs, scene.STRIDES, image_size=scene.SIZE, activation=activation)
        check(found, [2, 0])


def test_anchors_give_their_boxes_back() -> None:
    anchors = grid_anchors(SIZES, scene.STRIDES)
    deltas = torch.zeros(1, len(anchors), 4)
    rows = [9 * 10 + 4, 9 * 54 + 1]
    for box, row in enumerate(rows):
        deltas[0, row] = encode_deltas(BOXES[box], anchors[row])
    logits = sure(len(anchors), 3, rows, [1, 1])
    check(decode_retinanet({"logits": logits, "deltas": deltas}, scene.STRIDES, image_size=scene.SIZE), [1, 1])


def test_levels_and_rows_are_one_decoding() -> None:
    outputs = scene.levels(width=4)
    wanted = decode_task_aligned(outputs, scene.STRIDES, image_size=scene.SIZE)
    got = decode_task_aligned(scene.flattened(outputs), scene.STRIDES, image_size=scene.SIZE)
    torch.testing.assert_close(got, wanted)
    assert wanted.valid.any(1).all()
    height, width = scene.SIZE
    assert (wanted.boxes >= 0).all()
    assert (wanted.boxes <= torch.tensor([width, height, width, height])).all()
    one = decode_task_aligned(scene.of_images(outputs, slice(1, 2)), scene.STRIDES, image_size=scene.SIZE)
    torch.testing.assert_close(one.boxes[0], wanted.boxes[1])


def test_one_place_may_be_two_classes_and_each_class_is_suppressed_for_itself() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 7.5]]])
    scores = torch.tensor([[[0.9, 0.3], [0.8, 0.4]]])
    found = select_detections(scores, boxes)
    assert found.labels[found.valid].tolist() == [0, 1]
    assert found.scores[found.valid].tolist() == pytest.approx([0.9, 0.4])
    assert select_detections(scores, boxes, score_threshold=0.5).valid.sum() == 1
    assert select_detections(scores, boxes, max_detections=1).valid.shape == (1, 1)
    assert select_detections(scores, boxes, candidates=1).valid.sum() == 1
    assert select_detections(scores, boxes, iou_threshold=0.99).valid.sum() == 4
    assert select_detections(scores[:, :0], boxes[:, :0]).valid.shape == (1, 0)


class SmallNet(nn.Module):
    """Two levels of a few convolutions, enough to know four images by heart."""

    def __init__(self, classes: int, box_channels: int, key: str, anchors: int = 1) -> None:
        super().__init__()

        def halve(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(4, outputs), nn.SiLU()
            )

        self.key = key
        self.fine = nn.Sequential(halve(3, 16), halve(16, 32), halve(32, 64))
        self.coarse = halve(64, 64)
        self.logits = nn.ModuleList(nn.Conv2d(64, anchors * classes, 3, padding=1) for _ in range(2))
        self.boxes = nn.ModuleList(nn.Conv2d(64, anchors * box_channels, 3, padding=1) for _ in range(2))
        for conv in self.logits:
            nn.init.constant_(conv.bias, -3.0)
        if key == "distances" and box_channels == 4:
            for conv in self.boxes:
                nn.init.constant_(conv.bias, 1.5)  # a number a side: begin with boxes that have a size

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        fine = self.fine(images)
        features = (fine, self.coarse(fine))
        return [
            {"logits": logits(feature), self.key: boxes(feature)}
            for feature, logits, boxes in zip(features, self.logits, self.boxes, strict=True)
        ]


def four_images() -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Rectangles of three colours on noise, one image without any."""
    rng = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn(4, 3, 64, 64, generator=rng)
    annotations = [
        {"boxes": torch.tensor([[5.0, 6.0, 28.0, 30.0], [34.0, 30.0, 60.0, 62.0]]), "labels": torch.tensor([0, 1])},
        {"boxes": torch.tensor([[20.0, 2.0, 58.0, 22.0]]), "labels": torch.tensor([2])},
        {"boxes": torch.tensor([[2.0, 2.0, 14.0, 18.0], [10.0, 30.0, 50.0, 60.0]]), "labels": torch.tensor([1, 0])},
        scene.NOTHING,
    ]
    for image, annotation in zip(images, annotations, strict=True):
        for (x1, y1, x2, y2), label in zip(annotation["boxes"].int().tolist(), annotation["labels"], strict=True):
            image[label, y1:y2, x1:x2] += 1.0
    return images, annotations


CRITERIA: dict[str, tuple[Callable[..., nn.Module], int, str]] = {
    "yolov8": (TaskAlignedCriterion.yolov8, 4 * 8, "distances"),
    "ppyoloe": (TaskAlignedCriterion.ppyoloe, 4 * 8, "distances"),
    "tood": (TaskAlignedCriterion.tood, 4, "distances"),
    "retinanet": (RetinaNetCriterion, 4, "deltas"),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_four_images_are_learnt_by_heart(name: str) -> None:
    metrics = pytest.importorskip("matchloss.recipes.box_metrics")
    make, channels, key = CRITERIA[name]
    shapes: dict[str, Any] = {} if key == "distances" else {"scales": (2.0, 3.0), "ratios": (0.5, 1.0)}
    torch.manual_seed(0)
    net = SmallNet(3, channels, key, anchors=1 if key == "distances" else 4)
    criterion, (images, annotations) = make(3, [8, 16], **shapes), four_images()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        criterion(net(images), annotations).total.backward()
        optimizer.step()
    decode = decode_task_aligned if key == "distances" else decode_retinanet
    found = decode(net(images), [8, 16], image_size=(64, 64), **shapes)
    predictions = [
        metrics.Detected(boxes[valid], scores[valid], labels[valid])
        for boxes, scores, labels, valid in zip(*found, strict=True)
    ]
    truths = [metrics_truth(annotation) for annotation in annotations]
    assert metrics.average_precision(predictions, truths, ["red", "green", "blue"]).ap50 >= 0.95


def metrics_truth(annotation: dict[str, Tensor]) -> Any:
    from matchloss.recipes.data.boxes import BoxSample

    ignore = torch.zeros(len(annotation["labels"]), dtype=torch.bool)
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    return BoxSample(image, annotation["boxes"], annotation["labels"], ignore, "")
