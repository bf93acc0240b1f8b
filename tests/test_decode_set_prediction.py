"""`decode_set_prediction` gives back the boxes that queries describe, in the pixels of the image, the best first."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from matchloss.geometry import xyxy_to_cxcywh
from matchloss.postprocess import decode_set_prediction

SIZE = (48, 64)
BOXES = torch.tensor([[[4.0, 4.0, 28.0, 20.0], [30.0, 10.0, 60.0, 44.0], [0.0, 0.0, 64.0, 48.0]]])
FRACTIONS = xyxy_to_cxcywh(BOXES / torch.tensor([64.0, 48.0, 64.0, 48.0]))


def outputs(rows: list[list[float]], boxes: Tensor = FRACTIONS) -> dict[str, Tensor]:
    return {"logits": torch.tensor([rows]), "pred_boxes": boxes, "auxiliary_outputs": "are left alone"}


def test_softmax_has_one_class_a_query_and_leaves_no_object_out() -> None:
    """The third query is surest of all, that there is nothing; the first is less sure of it than of class 1."""
    rows = [[0.0, 3.0, 2.0], [2.0, -1.0, 0.0], [-2.0, 0.0, 9.0]]
    found = decode_set_prediction(outputs(rows), image_size=SIZE)
    assert found.labels.tolist() == [[0, 1, 1]]
    torch.testing.assert_close(found.boxes[0], BOXES[0, [1, 0, 2]])
    probabilities = torch.tensor(rows).softmax(-1)
    torch.testing.assert_close(found.scores[0], probabilities[[1, 0, 2], [0, 1, 1]])
    assert found.valid.all()
    few = decode_set_prediction(outputs(rows), image_size=SIZE, score_threshold=0.5)
    assert few.valid.tolist() == [[True, True, False]]
    assert few.labels[0, 2] == -1
    assert not few.boxes[0, 2].any()
    assert few.scores[0, 2] == 0


def test_sigmoid_ranks_pairs_of_query_and_class() -> None:
    rows = [[1.0, 3.0], [2.0, -4.0], [-5.0, -6.0]]
    found = decode_set_prediction(outputs(rows), image_size=SIZE, activation="sigmoid", max_detections=3)
    assert found.labels.tolist() == [[1, 0, 0]]
    torch.testing.assert_close(found.boxes[0], BOXES[0, [0, 1, 0]])
    torch.testing.assert_close(found.scores[0], torch.tensor([3.0, 2.0, 1.0]).sigmoid())
    every = decode_set_prediction(outputs(rows), image_size=SIZE, activation="sigmoid")
    assert every.scores.shape == (1, 6)


def test_each_image_may_have_its_own_size() -> None:
    both = {name: values.repeat(2, 1, 1) for name, values in outputs([[3.0, 0.0]] * 3).items() if name != REST}
    found = decode_set_prediction(both, image_size=torch.tensor([[48, 64], [96, 32]]))
    torch.testing.assert_close(found.boxes[0], BOXES[0])
    torch.testing.assert_close(found.boxes[1], BOXES[0] * torch.tensor([0.5, 2.0, 0.5, 2.0]))
    one = decode_set_prediction(outputs([[3.0, 0.0]] * 3), image_size=SIZE)
    torch.testing.assert_close(found.boxes[0], one.boxes[0])


REST = "auxiliary_outputs"


@pytest.mark.parametrize("size", [SIZE, torch.tensor([SIZE])])
def test_boxes_are_cut_at_the_border(size: tuple[int, int] | Tensor) -> None:
    wide = torch.tensor([[[0.5, 0.5, 1.5, 0.5]]])
    found = decode_set_prediction(outputs([[3.0, 0.0]], wide), image_size=size)
    assert found.boxes[0, 0].tolist() == [0.0, 12.0, 64.0, 36.0]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_what_is_not_finite_is_no_detection(activation: str) -> None:
    given = outputs([[9.0, 0.0], [torch.nan, 0.0], [1.0, -1.0]], FRACTIONS.clone())
    given["pred_boxes"][0, 0, 2] = torch.inf
    found = decode_set_prediction(given, image_size=SIZE, activation=activation)
    assert found.valid.sum() == (1 if activation == "softmax" else 2)
    torch.testing.assert_close(found.boxes[0, 0], BOXES[0, 2])
    assert found.boxes.isfinite().all()
    assert found.scores.isfinite().all()


def test_half_precision_is_widened() -> None:
    given = outputs([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    half = {name: values.half() for name, values in given.items() if name != REST}
    found, wanted = decode_set_prediction(half, image_size=SIZE), decode_set_prediction(given, image_size=SIZE)
    assert found.boxes.dtype == torch.float32
    torch.testing.assert_close(found.boxes, wanted.boxes, rtol=0, atol=0.1)
    assert torch.equal(found.labels, wanted.labels)


def test_no_queries_are_no_detections() -> None:
    empty = {"logits": torch.zeros(2, 0, 3), "pred_boxes": torch.zeros(2, 0, 4)}
    for activation in ("softmax", "sigmoid"):
        assert decode_set_prediction(empty, image_size=SIZE, activation=activation).boxes.shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits": None}, r"expected outputs with 'logits', got \['pred_boxes'\]"),
        ({"logits": torch.zeros(1, 2, 3)}, r"pred_boxes \(B, Q, 4\), got \(1, 2, 3\) and \(1, 3, 4\)"),
        ({"logits": torch.zeros(1, 3, 1)}, "C >= 2 for softmax"),
        ({"logits": torch.zeros(1, 3, 2, dtype=torch.int64)}, "logits of a floating dtype"),
        ({"image_size": torch.zeros(3, 2)}, r"image_size \(1, 2\), got \(3, 2\)"),
        ({"activation": "tanh"}, "expected activation to be one of"),
        ({"max_detections": 0}, "max_detections > 0"),
    ],
)
def test_mistakes_are_one_sentence(change: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"logits": torch.zeros(1, 3, 2), "pred_boxes": FRACTIONS, "image_size": SIZE} | change
    named = {name: given.pop(name) for name in ("logits", "pred_boxes")}
    with pytest.raises(ValueError, match=words) as caught:
        decode_set_prediction({name: value for name, value in named.items() if value is not None}, **given)
    assert str(caught.value).startswith("decode_set_prediction: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parity
@pytest.mark.parametrize("model", ["yolos", "detr", "deformable_detr", "rt_detr"])
def test_transformers_finds_the_same(model: str) -> None:
    transformers = pytest.importorskip("transformers")
    processors = {
        "yolos": transformers.YolosImageProcessor,
        "detr": transformers.DetrImageProcessor,
        "deformable_detr": transformers.DeformableDetrImageProcessor,
        "rt_detr": transformers.RTDetrImageProcessor,
    }
    activation = "softmax" if model in ("yolos", "detr") else "sigmoid"
    most = 20 if model == "rt_detr" else 100
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 20, 5, generator=rng)
    centers, sides = 0.4 + 0.2 * torch.rand(3, 20, 2, generator=rng), 0.4 * torch.rand(3, 20, 2, generator=rng)
    given = {"logits": logits, "pred_boxes": torch.cat([centers, sides], -1)}
    sizes = torch.tensor([[48, 64], [96, 32], [100, 100]])
    theirs = processors[model]().post_process_object_detection(
        SimpleNamespace(**given), threshold=0.3, target_sizes=sizes
    )
    ours = decode_set_prediction(
        given, image_size=sizes, activation=activation, score_threshold=0.3, max_detections=most
    )
    for index, their in enumerate(theirs):
        order = their["scores"].argsort(descending=True)
        valid = ours.valid[index]
        assert valid.sum() == len(order) > 3
        torch.testing.assert_close(ours.scores[index, valid], their["scores"][order])
        torch.testing.assert_close(ours.boxes[index, valid], their["boxes"][order])
        assert torch.equal(ours.labels[index, valid], their["labels"][order])
