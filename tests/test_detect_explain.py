"""`matchloss explain`: the picture and the tables of an annotated image, whatever the assigner."""

import dataclasses
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning_fabric")
from matchloss.recipes.detect import build_model, method_of, open_data
from matchloss.recipes.detect_explain import find_sample, write_explanation
from matchloss.recipes.detect_results import Trained
from matchloss.recipes.detect_settings import SETTINGS, Settings
from matchloss.recipes.errors import RunError
from matchloss.recipes.explain_pictures import object_colors
from matchloss.recipes.explain_points import ExplainedPoints, draw_points, explain_points, radii
from matchloss.recipes.explain_queries import ExplainedQueries, draw_queries, explain_queries
from toy_training import rectangle_folder


def untrained(folder: Path, **options) -> Trained:
    make = SETTINGS.get(options.get("model", ""), Settings)
    settings = make(**{"data": str(folder), "size": "96x64", "channels_last": False} | options)
    torch.manual_seed(0)
    classes = open_data(settings, "train").classes
    model = build_model(settings, len(classes), folder, pretrained=False).eval()
    return Trained(folder, model, method_of(settings, len(classes), folder), settings, classes, "best", 0, 0.0)


def explain_image(trained: Trained, image: str) -> ExplainedPoints:
    return explain_points(trained, find_sample(trained, image))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rectangle_folder(tmp_path_factory.mktemp("rectangles"))


CHOICES = [
    {},
    {"assigner": "simota"},
    {"assigner": "atss"},
    {"assigner": "max-iou"},
    {"head": "anchors", "assigner": "max-iou", "class_loss": "focal", "box_loss": "smooth-l1"},
    {"preset": "ppyoloe"},
]


@pytest.mark.parametrize("options", CHOICES, ids=lambda options: "-".join(options.values()) or "tal")
def test_every_object_has_its_row_and_its_points_their_color(folder: Path, options: dict[str, str]) -> None:
    trained = untrained(folder, **options)
    name = first_name(trained)
    explained = explain_image(trained, name)
    said, sample = explained.explanation, explained.sample
    assert sample.name == name
    assert len(said.rows) == len(sample.boxes) > 0
    assert said.positives.shape == (len(sample.boxes), 3)
    assert int(said.positives.sum()) == int(said.positive.sum()) == int(explained.loss.stats["positives"])
    text = str(explained)
    assert "starved" in text
    assert all(name in text for name in explained.loss.terms)
    shares = [float(part.split("(")[1].split("%")[0]) for part in text.splitlines()[-1].split(", ")]
    assert sum(shares) == pytest.approx(100, abs=2)
    picture = draw_points(explained)
    assert picture.shape == (3, round(sample.image.shape[1] * 1280 / sample.image.shape[2]), 1280)
    flat = picture.flatten(1)
    for number, color in enumerate(object_colors(len(said.rows))):
        assert (flat == torch.tensor(color, dtype=torch.uint8)[:, None]).all(0).any(), number


def first_name(trained: Trained) -> str:
    data = open_data(trained.settings, "val")
    return next(name for index, name in enumerate(data.names) if len(data.truth(index).boxes))


def test_points_lie_in_their_objects_and_the_best_is_the_largest(folder: Path) -> None:
    trained = untrained(folder)
    explained = explain_image(trained, first_name(trained))
    said = explained.explanation
    sizes = radii(said)
    for place in said.positive.nonzero().squeeze(1).tolist():
        x1, y1, x2, y2 = (explained.sample.boxes[said.target[place]] * explained.scale).tolist()
        x, y = said.points[place].tolist()
        assert x1 - 8 <= x <= x2 + 8  # small objects are widened to 16 pixels
        assert y1 - 8 <= y <= y2 + 8
    for row in said.target[said.positive].unique():
        own = said.positive & (said.target == row)
        assert said.metric is not None
        assert sizes[own].argmax() == said.metric[own].argmax()


def test_crossed_out_where_an_object_gets_no_point(folder: Path) -> None:
    trained = untrained(folder)
    explained = explain_image(trained, first_name(trained))
    none = dataclasses.replace(
        explained.explanation,
        positive=torch.zeros_like(explained.explanation.positive),
        positives=torch.zeros_like(explained.explanation.positives),
    )
    starved = dataclasses.replace(explained, explanation=none)
    assert none.starved.all()
    assert not torch.equal(draw_points(starved), draw_points(explained))


def test_images_are_found_by_path_name_or_stem_and_others_are_an_error(folder: Path, tmp_path: Path) -> None:
    trained = untrained(folder)
    name = first_name(trained)
    for spelling in (name, f"{name}.png", f"somewhere/{name}.jpg"):
        assert explain_image(trained, spelling).sample.name == name
    with pytest.raises(RunError, match=r"nowhere\.png: expected an image of the run's train or val list"):
        explain_image(trained, "nowhere.png")
    write_explanation(trained, name, tmp_path / "new" / "picture.png")
    assert (tmp_path / "new" / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("model", ["yolos", "detr", "rtdetr"])
def test_every_object_has_a_query_and_both_boxes_are_drawn_in_its_color(folder: Path, model: str) -> None:
    trained = untrained(folder, model=model)
    name = first_name(trained)
    explained = explain_queries(trained, find_sample(trained, name))
    said, sample = explained.explanation, explained.sample
    assert len(said.rows) == len(sample.boxes) > 0
    assert (said.query >= 0).all()
    assert len(said.query.unique()) == len(said.query)
    text = str(explained)
    assert all(word in text for word in ("class cost", "L1 cost", "GIoU cost", "class ", "l1 ", "giou "))
    assert ("earlier layers" in text) == (model != "yolos")
    shares = [float(part.split("(")[1].split("%")[0]) for part in text.splitlines()[-1].split(", ")]
    assert sum(shares) == pytest.approx(100, abs=2)
    picture = draw_queries(explained)
    assert picture.shape == (3, round(sample.image.shape[1] * 1280 / sample.image.shape[2]), 1280)
    zoom = 1280 / sample.image.shape[2]
    for number, color in enumerate(object_colors(len(said.rows))):
        x1, y1, _, _ = (explained.boxes[said.query[number]] * zoom).tolist()
        if 0 <= x1 < 1280 and 0 <= y1 < picture.shape[1]:
            near = picture[:, max(0, int(y1) - 3) : int(y1) + 12, max(0, int(x1) - 3) : int(x1) + 12].flatten(1)
            assert (near == torch.tensor(color, dtype=torch.uint8)[:, None]).all(0).any(), number


def test_boxes_of_queries_are_in_pixels_of_the_image(folder: Path) -> None:
    """The image is 96x64, the model sees it as 128x96, the last row filled up: fractions are of more than the image."""
    trained = untrained(folder, model="yolos", size="128x96")
    sample = find_sample(trained, first_name(trained))
    boxes = explain_queries(trained, sample).boxes
    cx, cy, width, height = trained.look(sample.image).outputs["pred_boxes"][0].unbind(-1)
    expected = torch.stack([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2], -1)
    scale = torch.tensor([128 / 96, round(64 * 128 / 96) / 64]).repeat(2)
    torch.testing.assert_close(boxes, expected * torch.tensor([128.0, 96.0, 128.0, 96.0]) / scale)


def test_objects_without_a_query_are_crossed_out(folder: Path) -> None:
    trained = untrained(folder, model="yolos")
    explained = explain_queries(trained, find_sample(trained, first_name(trained)))
    none = dataclasses.replace(explained.explanation, query=torch.full_like(explained.explanation.query, -1))
    lost = dataclasses.replace(explained, explanation=none)
    assert none.unmatched.all()
    assert "0 of 2 targets matched" in str(lost)
    assert not torch.equal(draw_queries(lost), draw_queries(explained))


def test_a_run_that_matches_sets_is_explained_by_queries(folder: Path, tmp_path: Path) -> None:
    trained = untrained(folder, model="yolos")
    explained = write_explanation(trained, first_name(trained), tmp_path / "picture.png")
    assert isinstance(explained, ExplainedQueries)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
