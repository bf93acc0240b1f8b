"""replace_loss on whole models: what goes in and comes out is transformers', and it trains."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import PreTrainedModel, YolosForObjectDetection

from matchloss.criteria import huggingface
from matchloss.criteria.huggingface import replace_loss
from tiny_detectors import (
    annotations,
    conditional_detr,
    dab_detr,
    deformable_detr,
    detr,
    images,
    rt_detr,
    rt_detr_v2,
    table_transformer,
    yolos,
)

BUILDERS = {
    "detr": detr,
    "detr-plain": lambda: detr(auxiliary=False),
    "detr-segmentation": lambda: detr(segmentation=True),
    "yolos": yolos,
    "table_transformer": table_transformer,
    "conditional_detr": conditional_detr,
    "dab_detr": dab_detr,
    "deformable_detr": deformable_detr,
    "rt_detr": rt_detr,
    "rt_detr_v2": rt_detr_v2,
}
SCENES = {"some": (3, 0, 1), "none": (0, 0, 0)}


def built(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return BUILDERS[name]().train()


def step(model: nn.Module, labels: list[dict[str, Tensor]]):
    torch.manual_seed(1)  # for the noise of denoising queries
    return model(pixel_values=images(len(labels)), labels=labels)


@pytest.mark.parametrize("counts", SCENES.values(), ids=list(SCENES))
@pytest.mark.parametrize("name", BUILDERS)
def test_loss_terms_and_outputs_are_the_models_own(name: str, counts: tuple[int, ...]) -> None:
    model, labels = built(name), annotations(counts)
    theirs = step(model, labels)
    assert replace_loss(model) is model
    ours = step(model, labels)
    assert_close(ours.loss, theirs.loss)
    assert type(ours.auxiliary_outputs) is type(theirs.auxiliary_outputs)
    for mine, other in zip(ours.auxiliary_outputs or [], theirs.auxiliary_outputs or [], strict=True):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[key], other[key]) for key in mine)
    for key, term in theirs.loss_dict.items():
        assert_close(ours.loss_dict[key], term)
    more = ours.loss_dict.keys() - theirs.loss_dict.keys()
    assert all("_dn_" in key and ours.loss_dict[key] == 0 for key in more)
    assert not more or (name.startswith("rt_detr") and not any(counts))


@pytest.mark.parametrize("counts", SCENES.values(), ids=list(SCENES))
@pytest.mark.parametrize("name", BUILDERS)
def test_gradients_of_the_weights_are_the_models_own(name: str, counts: tuple[int, ...]) -> None:
    model, labels = built(name), annotations(counts)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    wanted = torch.autograd.grad(step(model, labels).loss, weights, allow_unused=True, materialize_grads=True)
    grads = torch.autograd.grad(
        step(replace_loss(model), labels).loss, weights, allow_unused=True, materialize_grads=True
    )
    assert sum(grad.abs().sum() for grad in grads) > 0
    largest = max(other.abs().max().item() for other in wanted)  # biases before a norm have rounding alone
    for grad, other in zip(grads, wanted, strict=True):
        assert_close(grad, other, rtol=1e-4, atol=1e-6 * largest)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_step_lowers_the_loss_by_half_of_what_its_gradient_promises_or_more(name: str) -> None:
    model, labels = replace_loss(built(name)), annotations((3, 2))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    before = step(model, labels).loss
    grads = torch.autograd.grad(before, weights, allow_unused=True, materialize_grads=True)
    promised = 1e-4 * before.detach()
    rate = promised / sum(grad.square().sum() for grad in grads)
    with torch.no_grad():
        for weight, grad in zip(weights, grads, strict=True):
            weight -= rate * grad
        lowered = before - step(model, labels).loss
    assert lowered / promised > 0.5  # with detached boxes and scores the gradient is not the slope


def test_keys_are_the_same_in_every_training_step_of_rt_detr() -> None:
    """An image without objects alone on its rank must not leave the other ranks waiting for its terms."""
    model = replace_loss(built("rt_detr"))
    steps = [step(model, annotations(counts)).loss_dict.keys() for counts in ((3, 1), (0, 0), (1, 0))]
    assert steps[0] == steps[1] == steps[2]
    model.eval()
    with torch.no_grad():
        keys = [step(model, annotations(counts)).loss_dict.keys() for counts in ((3, 1), (0, 0))]
    assert keys[0] == keys[1] == {key for key in steps[0] if "_dn_" not in key}


def test_a_model_without_denoising_has_no_such_terms() -> None:
    model = replace_loss(built("rt_detr"))
    model.config.num_denoising = 0
    assert not any("_dn_" in key for key in step(model, annotations((0, 0))).loss_dict)


@pytest.mark.parametrize("name", ["deformable_detr", "dab_detr", "rt_detr"])
def test_other_layers_are_left_out_where_the_config_says_so(name: str) -> None:
    """These models hand their layers over all the same."""
    model = built(name)
    model.config.auxiliary_loss = False
    theirs = step(model, annotations((2, 1)))
    ours = step(replace_loss(model), annotations((2, 1)))
    assert_close(ours.loss, theirs.loss)
    assert ours.loss_dict.keys() == theirs.loss_dict.keys()
    assert not any(key[-1].isdigit() for key in ours.loss_dict)
    assert ours.auxiliary_outputs is None


@pytest.mark.parametrize("name", ["detr-segmentation", "yolos", "deformable_detr", "rt_detr"])
def test_the_config_is_read_at_each_step(name: str) -> None:
    model, labels = replace_loss(built(name)), annotations((3, 1))
    before = step(model, labels).loss
    changes = {
        "rt_detr": {
            "weight_loss_vfl": 2.0,
            "weight_loss_bbox": 3.0,
            "weight_loss_giou": 0.5,
            "focal_loss_alpha": 0.5,
            "focal_loss_gamma": 1.5,
        },
        "deformable_detr": {"focal_alpha": 0.5, "giou_loss_coefficient": 3, "giou_cost": 4},
        "detr-segmentation": {"mask_loss_coefficient": 2, "dice_loss_coefficient": 3, "eos_coefficient": 0.5},
        "yolos": {"bbox_loss_coefficient": 1, "class_cost": 3, "eos_coefficient": 0.2},
    }
    for key, value in changes[name].items():
        setattr(model.config, key, value)
    after = step(model, labels).loss
    assert abs(after - before) > 0.05
    del model._loss_function
    assert_close(after, step(model, labels).loss)


@pytest.mark.parametrize("family", ["class", "bbox", "giou"])
@pytest.mark.parametrize("name", ["detr", "deformable_detr", "rt_detr"])
def test_each_cost_of_the_config_has_its_part_in_the_matching(name: str, family: str) -> None:
    model, labels = replace_loss(built(name)), annotations((5, 3))
    for cost in ("class", "bbox", "giou"):
        if name == "rt_detr":
            setattr(model.config, f"matcher_{cost}_cost", float(cost == family))
            model.config.matcher_alpha, model.config.matcher_gamma = 0.9, 0.5
        else:
            setattr(model.config, f"{cost}_cost", int(cost == family))
    ours = step(model, labels).loss
    del model._loss_function
    assert_close(ours, step(model, labels).loss)


def test_a_crowd_is_neither_object_nor_background() -> None:
    model = replace_loss(built("yolos"))
    alone, both = annotations((1,), 3), annotations((2,), 3)
    both[0]["iscrowd"] = torch.tensor([0, 1])
    alone[0] = {key: values[:1] if len(values) == 2 and key != "size" else values for key, values in both[0].items()}
    crowded, without = step(model, both), step(model, alone)
    assert_close(crowded.loss_dict["loss_bbox"], without.loss_dict["loss_bbox"])
    assert crowded.loss_dict["cardinality_error"] == without.loss_dict["cardinality_error"]
    del model._loss_function
    assert not torch.isclose(step(model, both).loss_dict["loss_bbox"], without.loss_dict["loss_bbox"])


def test_a_batch_of_crowds_has_no_box_terms() -> None:
    model = replace_loss(built("rt_detr"))
    crowd = annotations((1, 1))
    for image in crowd:
        image["iscrowd"] = torch.ones(1, dtype=torch.long)
    terms = step(model, crowd).loss_dict
    assert all(term == 0 for key, term in terms.items() if key.startswith(("loss_bbox", "loss_giou")))


def test_weights_of_objects_count() -> None:
    model = replace_loss(built("deformable_detr"))
    labels = annotations((2, 0))
    plain = step(model, labels).loss_dict
    doubled = step(model, [{**labels[0], "weights": torch.full((2,), 2.0)}, labels[1]]).loss_dict
    assert_close(doubled["loss_bbox"], 2 * plain["loss_bbox"])


def test_every_supported_class_is_tried() -> None:
    assert {type(build()).__name__ for build in BUILDERS.values()} == set(huggingface.LOSSES)


def test_a_derived_class_is_known_and_another_one_is_not() -> None:
    class Mine(YolosForObjectDetection):
        pass

    model = Mine(yolos().config)
    assert replace_loss(model).loss_function is huggingface.softmax_loss
    for other in (nn.Linear(1, 1), yolos().vit):
        message = f"replace_loss: expected a model that is one of DetrFor.*RTDetrV2.*, got {type(other).__name__}$"
        with pytest.raises(ValueError, match=message):
            replace_loss(other)


def test_a_model_that_would_not_ask_for_the_loss_is_refused() -> None:
    """Before 4.48 the attribute could not be set, or nothing read it."""
    before = type("YolosForObjectDetection", (nn.Module,), {"loss_function": property(lambda self: None)})
    for old in (before, type("YolosForObjectDetection", (nn.Module,), {})):
        with pytest.raises(ValueError, match=r"^replace_loss: expected transformers 4\.48 or newer, got a model"):
            replace_loss(old())


def test_exclusive_classes_of_rt_detr_are_refused_in_a_sentence() -> None:
    model = replace_loss(built("rt_detr"))
    model.config.use_focal_loss = False
    with pytest.raises(ValueError, match=r"^replace_loss: expected a config with use_focal_loss=True, got False$"):
        step(model, annotations((1,)))


def test_the_loss_can_be_copied_and_first_asked_for_while_evaluating() -> None:
    model = replace_loss(built("yolos"))
    model.config.eos_coefficient = 0.3125  # a value that no other test has left a criterion of
    with torch.inference_mode():
        evaluated = step(model, annotations((2,))).loss
    again = copy.deepcopy(model)
    loss = step(again, annotations((2,))).loss
    loss.backward()
    assert_close(loss.detach(), evaluated)


def test_auxiliary_layers_of_yolos_fail_in_its_own_forward() -> None:
    """The model hands a tuple of hidden states to its heads; no loss is reached, neither theirs nor ours."""
    for change in (lambda model: model, replace_loss):
        model = change(built("yolos"))
        model.config.auxiliary_loss = True
        with pytest.raises((TypeError, AttributeError)):
            model(pixel_values=images(1), labels=annotations((1,)), output_hidden_states=True)
