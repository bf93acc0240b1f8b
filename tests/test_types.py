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


def masked_image(count: int, size: tuple[int, int], **more: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"boxes": boxes(count), "labels": torch.zeros(count), "masks": torch.ones(count, *size), **more}


def test_masks_of_images_of_different_sizes_are_padded_and_the_padding_is_known() -> None:
    targets = Targets.from_list([masked_image(1, (2, 5)), masked_image(2, (4, 3)), masked_image(0, (1, 1))])
    assert targets.masks is not None
    assert targets.pixels is not None
    assert targets.masks.shape == (3, 2, 4, 5)
    assert targets.pixels.dtype == targets.masks.dtype == torch.bool
    own = torch.zeros(3, 4, 5, dtype=torch.bool)
    own[0, :2, :5] = own[1, :4, :3] = own[2, 0, 0] = True
    assert torch.equal(targets.pixels, own)
    assert torch.equal(targets.masks[0, 0], own[0])
    assert torch.equal(targets.masks[1], own[1].expand(2, 4, 5))
    assert not targets.masks[0, 1].any()
    assert not targets.masks[2].any()


def test_masks_of_one_size_have_no_padding_to_speak_of() -> None:
    assert Targets.from_list([masked_image(1, (2, 5)), masked_image(0, (2, 5))]).pixels is None


def test_padding_can_be_given_with_the_image() -> None:
    left = torch.tensor([[True, True, False], [True, True, False]])
    targets = Targets.from_list([masked_image(1, (2, 3), pixels=left.long()), masked_image(1, (2, 3))])
    assert targets.pixels is not None
    assert torch.equal(targets.pixels, torch.stack([left, torch.ones_like(left)]))
    bigger = Targets.from_list([masked_image(1, (2, 3), pixels=left), masked_image(1, (3, 3))])
    assert bigger.pixels is not None
    assert bigger.pixels.sum((1, 2)).tolist() == [4, 9]
    alone = Targets.from_list([{"boxes": boxes(1), "labels": torch.zeros(1), "pixels": left}])
    assert alone.pixels is not None
    assert alone.pixels.tolist() == [left.tolist()]


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
        ([masked_image(1, (2, 2)) | {"masks": torch.ones(1, 4)}], r"image 0: expected masks of shape .* got \(1, 4\)"),
        ([masked_image(1, (2, 2), pixels=torch.ones(2, 3))], r"image 0: expected pixels of shape .* got \(2, 3\)"),
        (
            [
                {"boxes": boxes(1), "labels": torch.zeros(1), "pixels": torch.ones(2, 2)},
                {"boxes": boxes(1), "labels": torch.zeros(1)},
            ],
            "pixels for all or no images, got 1/2",
        ),
    ],
)
def test_errors_name_the_image_and_the_field(annotations, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets.from_list(annotations)
