"""Models that predict a set: the same face for all, their layers, noisy targets, pretrained weights."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tiny_detectors
from matchloss.criteria import SetCriterion
from matchloss.recipes.denoising import denoising_labels, denoising_set
from matchloss.recipes.detect_method import OF_FAMILY
from matchloss.recipes.errors import RunError
from matchloss.recipes.set_configs import QUERIES, proposals
from matchloss.recipes.set_models import DETECTORS, FAMILY, SMALL, build_set_detector, family_of
from matchloss.recipes.set_starts import SMALL_BOX, _turn, grid_places, query_places, sine_code, waves_of_patch
from matchloss.types import Targets

SIZE = (64, 96)
OBJECTS = {"boxes": torch.tensor([[4.0, 6.0, 34.0, 30.0], [30.0, 20.0, 60.0, 58.0]]), "labels": torch.tensor([0, 2])}
EMPTY = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
TINY = {
    "yolos": tiny_detectors.yolos,
    "detr": lambda: tiny_detectors.detr(auxiliary=False),
    "deformable_detr": tiny_detectors.deformable_detr,
    "rt_detr": tiny_detectors.rt_detr,
}


def small(name: str, folder: Path) -> nn.Module:
    torch.manual_seed(0)
    return build_set_detector(name, FAMILY[name], classes=3, size=SIZE, folder=folder)


def targets_of(*images: dict[str, Tensor]) -> Targets:
    return Targets.from_list(images, image_size=SIZE)


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_has_a_gradient_with_and_without_objects(name: str, tmp_path: Path) -> None:
    model, images = small(name, tmp_path).train(), torch.randn(2, 3, *SIZE)
    criterion = OF_FAMILY[FAMILY[name]].criterion(3)
    names = []
    for targets in (targets_of(OBJECTS, EMPTY), targets_of(EMPTY, EMPTY)):
        model.zero_grad()
        loss = criterion(model(images, targets), targets)
        loss.total.backward()
        names.append(list(loss.terms))
        assert loss.total.isfinite()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    assert names[0] == names[1]
    assert names[0] == terms_of(name)
    assert not list(tmp_path.iterdir())


def terms_of(name: str) -> list[str]:
    suffixes = [""] if name == "yolos" else ["", "_aux_0", "_aux_1"]
    if name == "rtdetr":
        suffixes.append("_encoder")
    noisy = [f"_denoising_{layer}" for layer in range(3)] if name == "rtdetr" else []
    return [term + suffix for part in (suffixes, noisy) for term in ("class", "l1", "giou") for suffix in part]


@pytest.mark.parametrize("name", SMALL)
def test_an_image_does_not_depend_on_its_neighbours(name: str, tmp_path: Path) -> None:
    model, images = small(name, tmp_path).train(), torch.randn(2, 3, *SIZE)
    both, alone = model(images), model(images[:1])
    for key in ("logits", "pred_boxes"):
        torch.testing.assert_close(both[key][:1], alone[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_any_shape_of_image_fits(name: str, tmp_path: Path) -> None:
    """Upright, square, and as narrow as a letterbox gets."""
    model = small(name, tmp_path).eval()
    for shape in ((96, 64), (96, 96), (96, 32), (32, 96)):
        boxes = model(torch.randn(1, 3, *shape))["pred_boxes"]
        assert boxes.shape[2] == 4
        assert ((boxes >= 0) & (boxes <= 1)).all()


def test_queries_differ_from_the_beginning(tmp_path: Path) -> None:
    """Equal ones would stay equal but for what the matching tells them apart by."""
    for name in SMALL:
        outputs = small(name, tmp_path).eval()(torch.randn(1, 3, *SIZE))
        rows = torch.cat([outputs["logits"], outputs["pred_boxes"]], -1)[0]
        assert len(rows.unique(dim=0)) == len(rows), name


@pytest.mark.parametrize("name", ["yolos", "detr"])
def test_each_query_begins_with_a_small_box_at_a_place_of_its_own(name: str, tmp_path: Path) -> None:
    """In every layer that predicts, whatever is in the image."""
    outputs = small(name, tmp_path).eval()(torch.randn(2, 3, *SIZE))
    places = query_places(QUERIES)
    assert len(places.unique(dim=0)) == QUERIES
    for layer in [*outputs.get("auxiliary_outputs", ()), outputs]:
        boxes = layer["pred_boxes"]
        assert (boxes[..., :2] - places).square().mean().sqrt() < 0.06  # of 0.28 that the places themselves vary
        torch.testing.assert_close(boxes[..., 2:], torch.full_like(boxes[..., 2:], 1 / (1 + math.exp(-SMALL_BOX))))


@pytest.mark.parametrize("name", ["yolos", "detr"])
def test_each_query_begins_by_looking_around_its_place(name: str, tmp_path: Path) -> None:
    """Weighted by attention, cells are near; and each head looks to a side of its own."""
    size, cells = (192, 256), grid_places(12, 16)
    torch.manual_seed(0)
    network = build_set_detector(name, FAMILY[name], classes=3, size=size, folder=tmp_path).eval().network
    network.set_attn_implementation("eager")
    images = torch.randn(1, 3, *size)
    if name == "yolos":
        seen = network(images, output_attentions=True).attentions[0][0, :, -QUERIES:, 1:-QUERIES]
        assert seen.sum(-1).mean() > 0.7  # of their attention, the rest is for other tokens
    else:
        first = network.model.query_position_embeddings.weight[None]
        outputs = network.model(images, decoder_inputs_embeds=first, output_attentions=True)
        seen = outputs.cross_attentions[0][0]
    shares, places = seen / seen.sum(-1, keepdim=True), query_places(QUERIES)
    away = torch.cdist(places, cells)
    assert (shares * away).sum(-1).mean() < 0.5 * away.mean()
    inside = ((places > 0.2) & (places < 0.8)).all(1)
    sides = (shares @ cells - places)[:, inside].mean(1)
    assert sides.sign().tolist() == [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    assert sides.mean(0).abs().max() < 0.02  # together to none: half a cell is 0.03 and 0.04


def test_patches_begin_as_waves_that_share_nothing() -> None:
    """No two channels see the same; the first three are the mean of a patch in three shades."""
    waves = waves_of_patch(64, 16).flatten(1)
    shared = F.normalize(waves) @ F.normalize(waves).T
    torch.testing.assert_close(shared, torch.eye(64), rtol=0, atol=1e-5)
    grey = torch.ones(3, 16, 16)
    seen = (waves @ grey.flatten()).abs() > 1e-4
    assert seen.nonzero().flatten().tolist() == [0]


def test_what_is_smooth_is_seen_as_loud_as_what_is_not() -> None:
    """Of images whose waves fade with their number to the power of 1.5, as those of photos do."""
    torch.manual_seed(0)
    size, noise = 16, torch.randn(400, 3, 16, 16)
    number = torch.arange(size)
    basis = torch.cos(math.pi / size * torch.outer(number, number + 0.5))
    fading = (1 + number[:, None] + number[None]) ** -1.5
    photos = torch.einsum("bcij,iy,jx->bcyx", noise * fading, basis, basis)
    loud = (photos.flatten(1) @ waves_of_patch(64, size).flatten(1).T).std(0)
    assert loud.max() < 6 * loud.min()


def test_codes_are_those_of_the_library(tmp_path: Path) -> None:
    """Which has its first cell at one cell, and not at half of one as a centre is."""
    theirs = small("detr", tmp_path).network.model.position_embedding(torch.Size((1, 128, 5, 8)), "cpu", torch.float32)
    moved = grid_places(5, 8) + 0.5 / torch.tensor([8.0, 5.0])
    torch.testing.assert_close(sine_code(moved, 128), theirs[0].flatten(1).T, rtol=1e-3, atol=1e-4)


def test_turned_codes_are_codes_of_other_places() -> None:
    """`_turn` moves a place by as much as the grid's cells are apart, along x and along y."""
    code = sine_code(grid_places(5, 8), 32).unflatten(0, (5, 8))
    torch.testing.assert_close(code[:, :-1] @ _turn(1 / 8, 0.0, 32).T, code[:, 1:], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(code[:-2] @ _turn(0.0, 2 / 5, 32).T, code[2:], rtol=1e-3, atol=1e-4)


def test_as_many_proposals_as_the_narrowest_image_has() -> None:
    assert proposals((64, 96)) == 12 * 4 + 6 * 2 + 3 * 1
    assert proposals((96, 64)) == proposals((64, 96))


@pytest.mark.parametrize("family", DETECTORS)
def test_outputs_are_those_of_the_library(family: str) -> None:
    """With the library's loss asked for, it gives its layers too; but for DETR, whose layers it changes for that."""
    torch.manual_seed(0)
    network = TINY[family]().eval()
    model = DETECTORS[family](network, scratch=False).eval()
    images = tiny_detectors.images(2)
    labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])}] * 2
    with torch.no_grad():
        theirs, ours = network(images, labels=labels), model(images)
    for key in ("logits", "pred_boxes"):
        torch.testing.assert_close(ours[key], theirs[key])
    if family in ("yolos", "detr"):
        assert theirs.auxiliary_outputs is None
    else:
        # RT-DETR's list ends with the encoder's proposals, which here have a place of their own.
        for layer, their in zip(ours["auxiliary_outputs"], theirs.auxiliary_outputs, strict=False):
            torch.testing.assert_close(layer, {key: their[key] for key in layer})
    assert len(ours.get("auxiliary_outputs", ())) == (0 if family == "yolos" else 2)


def test_layers_of_detr_are_what_its_heads_make_of_each_layer() -> None:
    torch.manual_seed(0)
    network = TINY["detr"]().eval()
    layers, norm = network.model.decoder.layers, network.model.decoder.layernorm
    nn.init.normal_(norm.weight)  # untrained, it would change nothing: each layer ends with a norm of its own
    states: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: states.append(output))
    with torch.no_grad():
        outputs = DETECTORS["detr"](network, scratch=False).eval()(tiny_detectors.images(1))
        for state, found in zip(states, [*outputs["auxiliary_outputs"], outputs], strict=True):
            normed = norm(state)
            torch.testing.assert_close(found["logits"], network.class_labels_classifier(normed))
            torch.testing.assert_close(found["pred_boxes"], network.bbox_predictor(normed).sigmoid())


def test_noisy_queries_know_their_targets() -> None:
    """The objects of an image stand at any place among its targets, here with an ignore region before them."""
    first = {
        "boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0], *OBJECTS["boxes"].tolist()]),
        "labels": torch.tensor([1, 0, 2]),
        "ignore": torch.tensor([True, False, False]),
    }
    second = {"boxes": OBJECTS["boxes"][:1], "labels": torch.tensor([1]), "ignore": torch.tensor([False])}
    targets = targets_of(first, second)
    listed = denoising_labels(targets)
    assert [image["class_labels"].tolist() for image in listed] == [[0, 2], [1]]
    torch.testing.assert_close(
        listed[0]["boxes"][0] * torch.tensor([96.0, 64, 96, 64]), torch.tensor([19.0, 18, 30, 24])
    )
    queries = denoising_set(torch.zeros(3, 2, 8, 3), torch.zeros(3, 2, 8, 4), targets, groups=2)
    assert queries.target_of_query.tolist() == [[1, 2, -1, -1] * 2, [0, -1, -1, -1] * 2]
    assert queries.counted.tolist() == [[True] * 8, [True, False, True, False] * 2]
    assert queries.repeats == 2


def test_noisy_queries_are_where_the_library_puts_them(tmp_path: Path) -> None:
    """Without noise and untrained decoders, whose boxes begin at their queries, each positive has its target's box."""
    model = small("rtdetr", tmp_path).train()
    model.network.config.box_noise_scale = 0.0
    targets = targets_of(OBJECTS, {name: values[1:] for name, values in OBJECTS.items()})
    original = denoising_labels(targets)
    from transformers.models.rt_detr import modeling_rt_detr

    exact = [{**image, "boxes": modeling_rt_detr.inverse_sigmoid(image["boxes"])} for image in original]
    outputs = model.network.model(torch.randn(2, 3, *SIZE), labels=exact)
    noisy = outputs.denoising_meta_values["dn_num_split"][0]
    boxes = outputs.intermediate_reference_points.transpose(0, 1)[:, :, :noisy]
    logits = outputs.intermediate_logits.transpose(0, 1)[:, :, :noisy]
    queries = denoising_set(logits, boxes, targets, outputs.denoising_meta_values["dn_num_group"])
    assert (queries.target_of_query >= 0).sum() == 3 * queries.repeats
    for image, (row, box) in enumerate(zip(queries.target_of_query, queries.boxes[0], strict=True)):
        wanted = original[image]["boxes"][row[row >= 0]]
        torch.testing.assert_close(box[row >= 0], wanted, rtol=1e-3, atol=1e-3)


def test_a_batch_without_objects_has_a_set_that_counts_for_nothing(tmp_path: Path) -> None:
    targets = targets_of(EMPTY, EMPTY)
    outputs = small("rtdetr", tmp_path).train()(torch.randn(2, 3, *SIZE), targets)
    queries = outputs["query_sets"]["denoising"]
    assert queries.logits.shape[2] == 2 * queries.repeats > 0
    assert not queries.counted.any()
    loss = SetCriterion.rtdetr(3)(outputs, targets)
    assert all(term.item() == 0 for name, term in loss.terms.items() if "denoising" in name)


def test_no_noise_in_evaluation(tmp_path: Path) -> None:
    model = small("rtdetr", tmp_path).eval()
    assert "query_sets" not in model(torch.randn(1, 3, *SIZE), targets_of(OBJECTS))


@pytest.mark.parametrize("family", DETECTORS)
def test_pretrained_models_keep_their_weights_but_for_heads_of_other_classes(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = TINY[family]()
    original.save_pretrained(tmp_path / "weights")
    saved = str(tmp_path / "weights")
    assert family_of(saved, tmp_path / "none") == family
    for classes in (tiny_detectors.CLASSES, 5):
        folder = tmp_path / f"model{classes}"
        model = build_set_detector(saved, family, classes=classes, size=(64, 64), folder=folder).train()
        before, after = original.state_dict(), model.network.state_dict()
        same = [name for name in before if before[name].shape == after[name].shape]
        assert all(torch.equal(before[name], after[name]) for name in same)
        changed = set(before) - set(same)
        assert bool(changed) == (classes == 5)
        assert all("class" in name or "score" in name for name in changed)
        criterion, targets = OF_FAMILY[family].criterion(classes), targets_of(OBJECTS, EMPTY)
        assert criterion(model(tiny_detectors.images(2), targets), targets).total.isfinite()
        statistics = {name: value for name, value in after.items() if "running" in name}
        assert all(torch.equal(before[name], value) for name, value in statistics.items())
        assert family_of("needs no network", folder) == family
        again = build_set_detector("x", family, classes=classes, size=(64, 64), folder=folder, pretrained=False)
        again.load_state_dict(model.state_dict())


def test_two_stage_proposals_of_deformable_detr_have_one_class() -> None:
    torch.manual_seed(0)
    config = tiny_detectors.deformable_detr().config
    config.two_stage, config.two_stage_num_proposals = True, 20
    from transformers import DeformableDetrForObjectDetection

    model = DETECTORS["deformable_detr"](DeformableDetrForObjectDetection(config), scratch=False).train()
    targets = targets_of(OBJECTS, EMPTY)
    outputs = model(tiny_detectors.images(2), targets)
    proposed = outputs["query_sets"]["encoder"]
    assert not proposed.targets.labels.any()
    assert proposed.logits.shape[2] > outputs["logits"].shape[1]
    loss = SetCriterion.deformable_detr(3)(outputs, targets)
    assert loss.total.isfinite()
    assert "class_encoder_0" in loss.terms


def test_what_is_no_detector_is_left_to_the_dense_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_detectors.backbone([1]).save_pretrained(tmp_path / "resnet")
    for name in ("resnet", str(tmp_path / "resnet"), "./missing"):
        assert family_of(name, tmp_path / "none") is None


def test_unreadable_weights_are_one_sentence(tmp_path: Path) -> None:
    TINY["yolos"]().config.save_pretrained(tmp_path / "weights")  # without the weights
    with pytest.raises(RunError, match="cannot load the yolos model") as caught:
        build_set_detector(str(tmp_path / "weights"), "yolos", classes=2, size=SIZE, folder=tmp_path / "model")
    assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match="cannot read the architecture of the model 'x'"):
        build_set_detector("x", "yolos", classes=2, size=SIZE, folder=tmp_path / "empty", pretrained=False)
