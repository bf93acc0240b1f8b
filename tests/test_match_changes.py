"""How many objects have another query than at the last validation, and the same boxes in every image."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from matchloss.criteria import SetCriterion
from matchloss.recipes.augment_boxes import letterbox
from matchloss.recipes.box_metrics import average_precision
from matchloss.recipes.constant_boxes import MOST, common_boxes, note_common_boxes, score_constant_boxes
from matchloss.recipes.data.annotations import Truth
from matchloss.recipes.data.boxes import BoxFolder
from matchloss.recipes.detect_inference import Seen
from matchloss.recipes.match_changes import NO_OBJECT, queries_of_objects, share_changed
from toy_training import rectangle_folder


def test_objects_with_another_query_are_counted() -> None:
    before = torch.tensor([[3, 0, NO_OBJECT], [1, -1, 4]])
    assert math.isnan(share_changed(None, before))
    assert share_changed(before, before) == 0.0
    after = torch.tensor([[3, 2, NO_OBJECT], [1, 5, -1]])
    assert share_changed(before, after) == pytest.approx(3 / 5)
    assert math.isnan(share_changed(before[:1], after))  # other validation images
    nothing = torch.full((2, 3), NO_OBJECT)
    assert math.isnan(share_changed(nothing, nothing))


def test_queries_stand_in_the_order_of_the_objects() -> None:
    """An image of 80x40 in a canvas of 96x64: it is shown as 96x48, the rest is filled up."""
    truth = Truth(
        torch.tensor([[40.0, 10.0, 60.0, 30.0], [0.0, 0.0, 80.0, 40.0], [5.0, 5.0, 15.0, 25.0]]),
        torch.tensor([0, 1, 0]),
        torch.tensor([False, True, False]),
    )
    seen = Seen(None, letterbox(torch.zeros(3, 40, 80, dtype=torch.uint8), long_side=96))
    targets = seen.targets(truth, torch.device("cpu"))
    torch.testing.assert_close(targets.boxes[0], 1.2 * truth.boxes)
    assert targets.image_size == (64, 96)
    x1, y1, x2, y2 = (truth.boxes * 1.2 / torch.tensor([96.0, 64.0, 96.0, 64.0])).unbind(1)
    exact = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
    boxes = torch.stack([exact[2], torch.tensor([0.9, 0.9, 0.1, 0.1]), exact[0]])[None]
    seen = seen._replace(outputs={"logits": torch.zeros(1, 3, 3), "pred_boxes": boxes})
    row = queries_of_objects(SetCriterion.detr(2), seen, truth, 5)
    assert row.tolist() == [2, NO_OBJECT, 0, NO_OBJECT, NO_OBJECT]
    empty = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    assert (queries_of_objects(SetCriterion.detr(2), seen, empty, 5) == NO_OBJECT).all()


class Images:
    """Two classes: a box in the same place of every image, whatever its size, and one that is anywhere."""

    classes = ("same", "anywhere")

    def __init__(self, count: int) -> None:
        self.sizes = [(40 + 4 * index, 80) for index in range(count)]
        self.places = torch.rand(count, 2, generator=torch.Generator().manual_seed(count)) * 0.8

    def __len__(self) -> int:
        return len(self.sizes)

    def image_size(self, index: int) -> tuple[int, int]:
        return self.sizes[index]

    def truth(self, index: int) -> Truth:
        height, width = self.sizes[index]
        corner = self.places[index]
        fractions = torch.cat([torch.tensor([[0.25, 0.5, 0.5, 1.0]]), torch.cat([corner, corner + 0.2])[None]])
        labels = torch.tensor([0, 1])
        boxes: Tensor = fractions * torch.tensor([width, height, width, height])
        return Truth(boxes, labels, torch.zeros(2, dtype=torch.bool))


def test_the_common_box_of_a_class_comes_first() -> None:
    common = common_boxes(Images(30))
    torch.testing.assert_close(common.boxes[0], torch.tensor([0.25, 0.5, 0.5, 1.0]))
    assert (common.scores[0], common.labels[0]) == (1.0, 0)
    assert len(common.boxes) <= MOST
    assert (common.scores.diff() <= 0).all()
    assert common.scores.sum() == pytest.approx(2.0, abs=1e-4)  # every box of the 30 images is in one cluster


def test_constant_boxes_find_what_is_always_there(tmp_path: Path) -> None:
    note_common_boxes(tmp_path, Images(30))
    scores = score_constant_boxes(tmp_path, Images(12))
    assert scores is not None
    assert scores.ap50_by_class[0] == 1.0
    assert scores.ap50_by_class[1] < 0.5
    assert score_constant_boxes(tmp_path / "older", Images(12)) is None


def test_constant_boxes_of_a_folder(tmp_path: Path) -> None:
    data = BoxFolder(rectangle_folder(tmp_path / "shapes"), "train")
    assert data.image_size(0) == (64, 96)
    common = common_boxes(data)
    # Fewer than there may be clusters: each box is one.
    assert len(common.boxes) == sum(len(data.truth(index).boxes) for index in range(len(data)))
    scale = torch.tensor([96.0, 64.0, 96.0, 64.0])
    found = [common._replace(boxes=common.boxes * scale)] * len(data)
    truths = [data.truth(index) for index in range(len(data))]
    assert average_precision(found, truths, data.classes).ap50 > 0.1
