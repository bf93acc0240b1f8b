"""`matchloss explain`: the picture and the tables of an annotated image, whatever the assigner."""

import dataclasses
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning_fabric")
from matchloss.recipes.detect import Settings, build_model, composition
from matchloss.recipes.detect_criteria import make_decoder
from matchloss.recipes.detect_explain import draw_explanation, explain_image, object_colors, radii, write_explanation
from matchloss.recipes.detect_results import Trained
from matchloss.recipes.errors import RunError
from toy_training import rectangle_folder


def untrained(folder: Path, **options) -> Trained:
    settings = Settings(data=str(folder), size="96x64", channels_last=False, **options)
    torch.manual_seed(0)
    from matchloss.recipes.detect import open_data

    classes = open_data(settings, "train").classes
    model = build_model(settings, len(classes), folder, pretrained=False).eval()
    return Trained(model, make_decoder(composition(settings)), settings, classes, "best", 0, 0.0)


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
    picture = draw_explanation(explained)
    assert picture.shape == (3, round(sample.image.shape[1] * 1280 / sample.image.shape[2]), 1280)
    flat = picture.flatten(1)
    for number, color in enumerate(object_colors(len(said.rows))):
        assert (flat == torch.tensor(color, dtype=torch.uint8)[:, None]).all(0).any(), number


def first_name(trained: Trained) -> str:
    from matchloss.recipes.detect import open_data

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
    assert not torch.equal(draw_explanation(starved), draw_explanation(explained))


def test_images_are_found_by_path_name_or_stem_and_others_are_an_error(folder: Path, tmp_path: Path) -> None:
    trained = untrained(folder)
    name = first_name(trained)
    for spelling in (name, f"{name}.png", f"somewhere/{name}.jpg"):
        assert explain_image(trained, spelling).sample.name == name
    with pytest.raises(RunError, match=r"nowhere\.png: expected an image of the run's train or val list"):
        explain_image(trained, "nowhere.png")
    write_explanation(trained, name, tmp_path / "new" / "picture.png")
    assert (tmp_path / "new" / "picture.png").read_bytes().startswith(b"\x89PNG")
