"""The parts of the detection recipe: what is trained with what, inference, gathering, pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from matchloss.criteria import RetinaNetCriterion, TaskAlignedCriterion
from matchloss.geometry import grid_anchors
from matchloss.recipes.augment_boxes import letterbox
from matchloss.recipes.box_metrics import Detected
from matchloss.recipes.detect import Batch, DetectionTask, composition, open_splits
from matchloss.recipes.detect_criteria import (
    ASSIGNERS,
    BOX_LOSSES,
    CLASS_LOSSES,
    ON_ANCHORS,
    PRESETS,
    make_criterion,
    make_decoder,
)
from matchloss.recipes.detect_inference import MOST, Seen, found_boxes, look_at, pack, unpack
from matchloss.recipes.detect_models import STRIDES, build_detector
from matchloss.recipes.detect_pictures import draw_boxes
from matchloss.recipes.detect_settings import Settings, canvas
from matchloss.recipes.errors import RunError
from matchloss.recipes.pictures import class_color
from matchloss.types import Detections, Targets
from toy_training import rectangle_folder

OBJECTS = {"boxes": torch.tensor([[4.0, 6.0, 34.0, 30.0], [30.0, 20.0, 60.0, 58.0]]), "labels": torch.tensor([0, 2])}
EMPTY = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
WAYS = (
    [{"assigner": name} for name in ASSIGNERS]
    + [{"class_loss": name} for name in CLASS_LOSSES]
    + [{"assigner": "atss", "class_loss": name} for name in CLASS_LOSSES]
    + [{"box_loss": name} for name in BOX_LOSSES]
    + [{"preset": name} for name in PRESETS]
    + [{"head": "anchors", "assigner": name} for name in ON_ANCHORS]
    + [{"head": "anchors", "assigner": "max-iou", "class_loss": "focal", "box_loss": "smooth-l1", "nms": "diou"}]
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
def test_every_way_trains_and_decodes(way: dict[str, str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    composed = composition(Settings(data="", **way))
    criterion = make_criterion(composed, 3)
    assert type(criterion) is (RetinaNetCriterion if "head" in way else TaskAlignedCriterion)
    model = build_detector("resnet", classes=3, anchors=composed.anchors, folder=tmp_path)
    images = torch.randn(2, 3, 64, 64)
    losses = [criterion(model(images), Targets.from_list(objects)) for objects in ([OBJECTS, EMPTY], [EMPTY, EMPTY])]
    with_objects, without = losses
    assert with_objects.stats["positives"] > 0
    assert without.stats["positives"] == 0
    assert with_objects.terms.keys() == without.terms.keys()
    assert with_objects.terms["box"] > 0
    for loss in losses:
        model.zero_grad()
        loss.total.backward()
        assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters())
    found = make_decoder(composed)(model(images), (64, 64))
    assert found.boxes.shape[0] == 2
    assert found.boxes.shape[1] <= MOST


def test_scores_are_qualities_where_the_loss_wants_them() -> None:
    for assigner, class_loss, scores in (
        ("tal", "quality", "assigned"),
        ("atss", "quality", "iou"),
        ("max-iou", "varifocal", "iou"),
        ("atss", "bce", "assigned"),
    ):
        criterion = make_criterion(composition(Settings(data="", assigner=assigner, class_loss=class_loss)), 3)
        assert criterion.scores == scores


def test_decoder_has_the_anchors_of_the_criterion() -> None:
    composed = composition(Settings(data="", head="anchors", assigner="max-iou"))
    criterion = make_criterion(composed, 2)
    shapes = [(64 // stride, 64 // stride) for stride in STRIDES]
    levels = [{"logits": torch.full((1, 18, *s), -9.0), "deltas": torch.zeros(1, 36, *s)} for s in shapes]
    levels[0]["logits"][0, 3 * 2 + 1, 4, 4] = 3.0  # the second scale's first ratio, class 1
    found = make_decoder(composed)(levels, (64, 64))
    anchors = grid_anchors(shapes, STRIDES, scales=criterion.scales, ratios=criterion.ratios)
    assert found.valid.sum() == 1
    assert found.labels[0, 0] == 1
    torch.testing.assert_close(found.boxes[0, 0], anchors[(4 * 8 + 4) * 9 + 3])


@pytest.mark.parametrize(("nms", "kept"), [("iou", 1), ("diou", 2)])
def test_nms_is_the_one_asked_for(nms: str, kept: int) -> None:
    """Two long boxes side by side: their IoU is 0.63, their DIoU 0.59, and the threshold lies between."""
    levels = [{"logits": torch.full((1, 1, n, n), -9.0), "distances": torch.zeros(1, 4, n, n)} for n in (8, 4, 2)]
    for column, (left, right) in ((0, (0.0, 48.0)), (3, (11.0, 59.0))):
        center = 8 * column + 4
        levels[0]["logits"][0, 0, 0, column] = 3.0 - column
        sides = torch.tensor([center - left, 4.0, right - center, 4.0]) / 8
        levels[0]["distances"][0, :, 0, column] = sides
    found = make_decoder(composition(Settings(data="", nms=nms)))(levels, (64, 64))
    assert found.valid.sum() == kept


def test_validation_has_the_classes_of_the_training(tmp_path: Path) -> None:
    """Two JSON files that list their classes in different orders."""
    (tmp_path / "images").mkdir()
    for split, names in (("train", ["brick", "leaf"]), ("val", ["leaf", "brick"])):
        Image.new("RGB", (40, 40)).save(tmp_path / "images" / f"{split}.png")
        content = {
            "images": [{"id": 1, "file_name": f"{split}.png", "width": 40, "height": 40}],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 20]}],
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    training, validation = open_splits(Settings(data=str(tmp_path)))
    assert training.classes == validation.classes == ["brick", "leaf"]
    assert training.truth(0).labels.tolist() == [0]
    assert validation.truth(0).labels.tolist() == [1]


def test_unknown_names_are_one_sentence() -> None:
    for name, option in (("assigner", "--assigner"), ("class_loss", "--class-loss"), ("nms", "--nms")):
        with pytest.raises(RunError, match=f"{option} best: expected one of"):
            make_criterion(composition(Settings(data="", **{name: "best"})), 3)


def test_size_is_width_by_height() -> None:
    assert canvas("320x256") == (256, 320)
    assert canvas("96") == (96, 96)
    for size in ("0x32", "33", "-32", "32x", "64x64x64", ""):
        with pytest.raises(RunError, match="--size"):
            canvas(size)


class Fixed(nn.Module):
    """Gives the shape it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        return [{"logits": images}]


def test_boxes_come_back_to_the_pixels_of_the_image() -> None:
    def decode(levels: list[dict[str, Tensor]], size: tuple[int, int]) -> Detections:
        assert size == (96, 64)  # 50 x 100 pixels shrunk to a long side of 80, and filled up
        assert levels[0]["logits"].shape == (1, 3, 96, 64)
        boxes = torch.tensor([[[8.0, 16.0, 24.0, 72.0], [20.0, 40.0, 64.0, 96.0], [0.0, 0.0, 0.0, 0.0]]])
        valid = torch.tensor([[True, True, False]])
        return Detections(boxes, torch.tensor([[0.9, 0.5, 0.0]]), torch.tensor([[1, 0, -1]]), valid)

    image = torch.randint(0, 256, (3, 100, 50), dtype=torch.uint8)
    found = found_boxes(look_at(Fixed(), image, long_side=80), decode)
    assert found.boxes.tolist() == [[10.0, 20.0, 30.0, 90.0], [25.0, 50.0, 50.0, 100.0]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.labels.tolist() == [1, 0]


def test_findings_survive_the_gathering() -> None:
    two = Detected(torch.rand(2, 4), torch.rand(2), torch.tensor([3, 0]))
    none = Detected(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    packed = pack([two, none], 3)
    assert packed.shape == (3, MOST, 7)
    for found, rows in zip([two, none, none], packed, strict=True):
        assert all(torch.equal(part, other) for part, other in zip(found, unpack(rows), strict=True))


@pytest.fixture
def task(tmp_path: Path) -> DetectionTask:
    folder = rectangle_folder(tmp_path / "shapes")
    return DetectionTask(Settings(data=str(folder), size="96x64", channels_last=False), tmp_path)


def test_batch_holds_images_and_their_objects(task: DetectionTask) -> None:
    samples = [task.sample(index, np.random.default_rng(index), 0) for index in range(6)]
    batch = task.collate(samples)
    assert isinstance(batch, Batch)
    assert batch.images.shape == (6, 3, 64, 96)
    assert batch.targets.image_size == (64, 96)
    assert not batch.targets.valid[0].any()  # the first image holds nothing
    assert batch.targets.valid[1:].any(1).all()
    assert task.loss(task.model, batch).total.isfinite()
    again = task.sample(3, np.random.default_rng(3), 0)
    assert torch.equal(again[0], samples[3][0])
    other = task.sample(3, np.random.default_rng(4), 0)
    assert not torch.equal(other[0], samples[3][0])


def test_validation_shares_the_images(task: DetectionTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process finds what it looked at where all expect it, also when the last one has fewer images."""

    class Rank:
        world_size = 2
        device = torch.device("cpu")

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

        def all_gather(self, packed: Tensor) -> Tensor:
            gathered.append(packed)
            first = next(other for other in gathered if other.shape == packed.shape)
            return torch.stack([first, packed])

    def look(model: nn.Module, image: Tensor) -> Seen:
        index = next(i for i in range(3) if torch.equal(task.validation[i].image, image))
        seen.append(index)
        return Seen(index, letterbox(image, long_side=96))

    def truth(index: int, size: tuple[int, int]) -> Detections:
        boxes, labels, _ = task.validation.truth(index)
        found = Detections(boxes, torch.ones(len(labels)), labels, torch.ones(len(labels), dtype=torch.bool))
        return Detections(*(part[None] for part in found))

    gathered: list[Tensor] = []
    seen: list[int] = []
    monkeypatch.setattr(task, "look", look)
    monkeypatch.setattr(task, "method", task.method._replace(decode=truth))
    task.validate(task.model, Rank(0))
    assert seen == [0, 2]
    scores = task.validate(task.model, Rank(1))
    assert seen == [0, 2, 1]
    assert scores["ap50"] == scores["ap"] == scores["ap50_brick"] == 1.0


def test_pictures_hold_truth_and_prediction(task: DetectionTask) -> None:
    with torch.no_grad():
        pictures = task.pictures(task.model, None)
    assert list(pictures) == ["val0", "val1", "val2"]
    for picture in pictures.values():
        assert picture.dtype == torch.uint8
        assert picture.shape == (3, 64 * 7, 2 * 96 * 7)  # enlarged until 640 pixels are reached


def test_boxes_are_drawn_in_the_colours_of_their_classes() -> None:
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    boxes = torch.tensor([[100.0, 100.0, 400.0, 400.0], [150.0, 150.0, 200.0, 220.0], [500.0, 100.0, 600.0, 300.0]])
    ignore = torch.tensor([False, False, True])
    drawn = draw_boxes(image, boxes, torch.tensor([0, 1, 1]), ["a", "b"], scores=torch.rand(3), ignore=ignore)
    assert drawn.shape == image.shape
    assert drawn[:, 300, 100].tolist() == list(class_color(0))
    assert drawn[:, 200, 150].tolist() == list(class_color(1))
    assert drawn[:, 200, 500].tolist() == [150] * 3
    assert drawn[:, 300, 300].sum() == 0  # frames, not areas
    assert drawn[:, 90, 102].tolist() == list(class_color(0))  # the plate of the name, above the corner
    assert image.sum() == 0


def test_small_boxes_are_drawn_over_large_ones() -> None:
    boxes = torch.tensor([[80.0, 200.0, 120.0, 240.0], [100.0, 100.0, 400.0, 400.0]])
    drawn = draw_boxes(torch.zeros(3, 480, 640, dtype=torch.uint8), boxes, torch.tensor([0, 1]), ["a", "b"])
    assert drawn[:, 239, 100].tolist() == list(class_color(0))
    assert drawn[:, 300, 100].tolist() == list(class_color(1))


def test_drawing_bears_any_box() -> None:
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    boxes = torch.tensor([[-5.0, -5.0, 80.0, 90.0], [59.0, 0.0, 60.0, 1.0], [30.0, 30.0, 20.0, 20.0]])
    drawn = draw_boxes(image, boxes, torch.tensor([0, 1, 9]), [str(index) for index in range(10)])
    assert drawn.shape == (3, 40 * 11, 60 * 11)
    none = draw_boxes(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), [])
    assert none.sum() == 0


def test_strides_divide_the_canvas(task: DetectionTask) -> None:
    levels = task.model(torch.zeros(1, 3, *task.size))
    assert [level["logits"].shape[2] * stride for level, stride in zip(levels, STRIDES, strict=True)] == [64] * 3
