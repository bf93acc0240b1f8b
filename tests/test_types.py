"""Targets: padding, names, errors."""

import pytest
import torch

from matchloss import Targets


def boxes(count: int, sides: int = 4) -> torch.Tensor:
    return torch.arange(count * sides, dtype=torch.float32).view(count, sides)


def test_pads_to_the_largest_image() -> None:
    targets = Targets.from_list(
        [
            {"boxes": boxes(2), "labels": torch.tensor([3, 1]), "weights": torch.tensor([1.0, 0.5])},
            {"boxes": boxes(0), "labels": torch.zeros(0, dtype=torch.long)},
            {"boxes": boxes(1), "class_labels": torch.tensor([7]), "iscrowd": torch.tensor([1])},
        ],
        box_format="cxcywh",
        normalized=True,
        image_size=(480, 640),
    )
    assert targets.labels.tolist() == [[3, 1], [0, 0], [7, 0]]
    assert targets.valid.tolist() == [[True, True], [False, False], [True, False]]
    assert targets.ignore.tolist() == [[False, False], [False, False], [True, False]]
    assert targets.weights.tolist() == [[1.0, 0.5], [0.0, 0.0], [1.0, 0.0]]
    assert targets.boxes.shape == (3, 2, 4)
    assert torch.equal(targets.boxes[0], boxes(2))
    assert (targets.box_format, targets.normalized, targets.image_size) == ("cxcywh", True, (480, 640))
    assert targets.masks is None


def test_no_objects_at_all() -> None:
    targets = Targets.from_list([{"boxes": boxes(0), "labels": torch.zeros(0, dtype=torch.long)}] * 2)
    assert targets.boxes.shape == (2, 0, 4)
    assert targets.valid.shape == (2, 0)


def test_rotated_boxes_and_masks() -> None:
    image = {"boxes": boxes(2, 5), "labels": torch.zeros(2), "masks": torch.ones(2, 3, 4)}
    none = {"boxes": boxes(0, 5), "labels": torch.zeros(0), "masks": torch.ones(0, 3, 4)}
    targets = Targets.from_list([image, none], box_format="cxcywha")
    assert targets.boxes.shape == (2, 2, 5)
    assert targets.masks is not None
    assert targets.masks.shape == (2, 2, 3, 4)
    assert targets.masks.dtype == torch.bool


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ([], "at least one image"),
        ([{"boxes": boxes(1)}], r"image 0: expected keys 'labels' .* got \['boxes'\]"),
        ([{"boxes": boxes(1, 3), "labels": torch.zeros(1)}], r"image 0: expected boxes of shape .* got \(1, 3\)"),
        ([{"boxes": boxes(2), "labels": torch.zeros(1)}], "as many of each field as boxes, got labels: 1, boxes: 2"),
        (
            [
                {"boxes": boxes(1), "labels": torch.zeros(1), "masks": torch.ones(1, 2, 2)},
                {"boxes": boxes(1), "labels": torch.zeros(1)},
            ],
            "masks for all or no images, got 1/2",
        ),
    ],
)
def test_errors_name_the_image_and_the_field(annotations, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets.from_list(annotations)
