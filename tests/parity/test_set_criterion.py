"""SetCriterion and replace_loss beside the losses of transformers: each term and gradient, and what we do otherwise."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers.loss.loss_utils import LOSS_MAPPING
from transformers.models.rt_detr.modeling_rt_detr import get_contrastive_denoising_training_group

from inputs import generator
from matchloss import QuerySet
from matchloss.criteria import SetCriterion
from matchloss.criteria.huggingface import LOSSES
from tiny_detectors import CLASSES, QUERIES, annotations, deformable_detr, detr, rt_detr, yolos

pytestmark = pytest.mark.parity

Labels = list[dict[str, Tensor]]
LAYERS, GRID = 3, 16
CONFIGS: dict[str, Any] = {
    "DetrForObjectDetection": detr().config,
    "DetrForSegmentation": detr().config,
    "YolosForObjectDetection": yolos().config,
    "DeformableDetrForObjectDetection": deformable_detr().config,
    "RTDetrForObjectDetection": rt_detr().config,
}
THEIRS = {name: LOSS_MAPPING.get(name, LOSS_MAPPING["ForObjectDetection"]) for name in CONFIGS}
THEIRS["DetrForSegmentation"] = LOSS_MAPPING["ForSegmentation"]
SCENES = {"some": (3, 0, 5), "one": (1,), "none": (0, 0), "many": (14, 2)}
"""Objects an image; 14 are more than there are queries."""


def is_sigmoid(name: str) -> bool:
    return name.startswith(("Deformable", "RTDetr"))


class Inputs:
    """Random outputs of all layers, as leaves, and the arguments that a model makes of them."""

    def __init__(self, name: str, labels: Labels, seed: int, dtype: torch.dtype) -> None:
        self.name, self.labels, self.meta = name, labels, None
        self.dtype, self.rng, images = dtype, generator(1000 + seed), len(labels)
        queries = QUERIES
        if name.startswith("RTDetr"):
            torch.manual_seed(seed)
            embed = nn.Embedding(CLASSES + 1, 4)
            *_, self.meta = get_contrastive_denoising_training_group(labels, CLASSES, QUERIES, embed, 8)
            queries += self.meta["dn_num_split"][0] if self.meta else 0
        channels = CLASSES + (not is_sigmoid(name))
        self.logits, self.boxes = self.normal(LAYERS, images, queries, channels), self.uniform(LAYERS, images, queries)
        self.leaves = [self.logits, self.boxes]
        if name.startswith("RTDetr"):
            self.encoder = [self.normal(images, QUERIES, channels), self.uniform(images, QUERIES)]
            self.leaves += self.encoder
        if name == "DetrForSegmentation":
            self.masks = self.normal(images, QUERIES, GRID, GRID)
            self.leaves.append(self.masks)

    def normal(self, *shape: int) -> Tensor:
        return (2 * torch.randn(shape, generator=self.rng, dtype=self.dtype)).requires_grad_()

    def uniform(self, *shape: int) -> Tensor:
        return (0.05 + 0.5 * torch.rand(*shape, 4, generator=self.rng, dtype=self.dtype)).requires_grad_()

    def call(self, loss: Callable[..., Any], config: Any) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """Total, terms and gradients of a loss in transformers' signature."""
        masks = [self.masks] if self.name == "DetrForSegmentation" else []
        last = self.logits[-1], self.labels, self.logits.device, self.boxes[-1], *masks, config
        if self.name.startswith("RTDetr"):
            total, terms, _ = loss(
                *last,
                self.logits.transpose(0, 1),
                self.boxes.transpose(0, 1),
                enc_topk_logits=self.encoder[0],
                enc_topk_bboxes=self.encoder[1],
                denoising_meta_values=self.meta,
                predicted_corners=None,
            )
        else:
            total, terms, _ = loss(*last, *((self.logits, self.boxes) if config.auxiliary_loss else ()))
        grads = torch.autograd.grad(total, self.leaves, allow_unused=True, materialize_grads=True)
        return total, terms, list(grads)

    def outputs(self) -> dict[str, Any]:
        """The same in the form of SetCriterion."""
        noised = self.meta["dn_num_split"][0] if self.meta else 0
        pairs = zip(self.logits[..., noised:, :], self.boxes[..., noised:, :], strict=True)
        *others, outputs = [{"logits": logits, "pred_boxes": boxes} for logits, boxes in pairs]
        if self.name != "YolosForObjectDetection":
            outputs["auxiliary_outputs"] = others
        if self.name == "DetrForSegmentation":
            outputs["pred_masks"] = self.masks
        if self.name.startswith("RTDetr"):
            outputs["encoder_outputs"] = {"logits": self.encoder[0], "pred_boxes": self.encoder[1]}
        if self.meta:
            dn = self.logits[..., :noised, :], self.boxes[..., :noised, :]
            outputs["query_sets"] = {
                "dn": QuerySet(*dn, target_of_query=self.slots(noised), repeats=self.meta["dn_num_group"])
            }
        return outputs

    def slots(self, noised: int) -> Tensor:
        """From how the queries lie: in each group every target as a positive, then every one as a negative."""
        most = max(len(image["boxes"]) for image in self.labels)
        place = torch.arange(noised) % (2 * most)
        return torch.stack([place.where(place < len(image["boxes"]), -1) for image in self.labels])


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """In float64 transformers' class weights must be float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def scene(name: str, counts: tuple[int, ...], seed: int, dtype: torch.dtype) -> Inputs:
    labels = annotations(counts, seed, side=4 * GRID)
    return Inputs(name, [{**image, "boxes": image["boxes"].to(dtype)} for image in labels], seed, dtype)


def assert_near(mine: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    """Relative to the largest number of a gradient: its small ones are differences of large ones."""
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    largest = theirs.abs().max().item() if theirs.numel() else 0.0
    assert_close(mine, theirs, rtol=tolerance, atol=tolerance * max(largest, 1e-3), check_dtype=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("counts", SCENES.values(), ids=list(SCENES))
@pytest.mark.parametrize("name", CONFIGS)
def test_terms_and_gradients_are_theirs(name: str, counts: tuple[int, ...], dtype: torch.dtype) -> None:
    config = copy.deepcopy(CONFIGS[name])
    config.eos_coefficient = 0.125  # the same number in float32 and float64
    if name.startswith("RTDetr"):
        config.matcher_class_cost, config.matcher_alpha, config.matcher_gamma = 8.0, 0.75, 1.0
    for seed in range(12):
        inputs = scene(name, counts, seed, dtype)
        with default_dtype(dtype):
            wanted, their_terms, their_grads = inputs.call(THEIRS[name], config)
        total, terms, grads = inputs.call(LOSSES[name], config)
        assert_near(total, wanted, dtype)
        more = {key for key in terms if "_dn_" in key} if not any(counts) else set()
        assert terms.keys() == their_terms.keys() | more
        assert all(terms[key] == 0 for key in more)
        for key, term in their_terms.items():
            assert_near(terms[key], term, dtype)
        for grad, other in zip(grads, their_grads, strict=True):
            assert_near(grad, other, dtype)


PRESETS = {
    "DetrForObjectDetection": (SetCriterion.detr, {"ce": 1, "bbox": 5, "giou": 2}),
    "DetrForSegmentation": (SetCriterion.detr, {"ce": 1, "bbox": 5, "giou": 2, "mask": 1, "dice": 1}),
    "YolosForObjectDetection": (SetCriterion.yolos, {"ce": 1, "bbox": 5, "giou": 2}),
    # The authors' class weight is 2; it is 1 in transformers.
    "DeformableDetrForObjectDetection": (SetCriterion.deformable_detr, {"ce": 2, "bbox": 5, "giou": 2}),
    "RTDetrForObjectDetection": (SetCriterion.rtdetr, {"vfl": 1, "bbox": 1, "giou": 1}),  # theirs are weighted
}
OURS = {"ce": "class", "vfl": "class", "bbox": "l1", "giou": "giou", "mask": "mask", "dice": "dice"}


def our_name(key: str, name: str) -> str:
    """``loss_ce_0`` as ``class_aux_0``."""
    kind, *suffix = key.removeprefix("loss_").split("_")
    if suffix and not name.startswith("RTDetr"):
        suffix = ["aux", *suffix]
    if suffix == ["aux", str(LAYERS - 1)]:
        suffix = ["encoder"]
    return "_".join([OURS[kind], *suffix])


@pytest.mark.parametrize("counts", SCENES.values(), ids=list(SCENES))
@pytest.mark.parametrize("name", PRESETS)
def test_presets_give_their_terms_times_the_weights(name: str, counts: tuple[int, ...]) -> None:
    preset, weights = PRESETS[name]
    config = copy.deepcopy(CONFIGS[name])
    config.class_cost = 2 if is_sigmoid(name) else 1
    for seed in range(4):
        inputs = scene(name, counts, seed, torch.float32)
        _, their_terms, _ = inputs.call(THEIRS[name], config)
        loss = preset(CLASSES)(inputs.outputs(), inputs.labels)
        wanted = {key: term for key, term in their_terms.items() if not key.startswith("cardinality")}
        assert loss.terms.keys() == {our_name(key, name) for key in wanted}
        for key, term in wanted.items():
            weight = weights[key.removeprefix("loss_").split("_")[0]]
            assert_near(loss.terms[our_name(key, name)], weight * term, torch.float32)
        if "cardinality_error" in their_terms:
            assert_close(loss.stats["cardinality_error"], their_terms["cardinality_error"])


def test_padding_of_an_image_has_a_part_in_their_mask_terms_and_none_in_ours() -> None:
    name = "DetrForSegmentation"
    labels = annotations((2,), 0, side=4 * GRID) + annotations((2,), 1, side=2 * GRID)
    inputs = Inputs(name, labels, 0, torch.float32)
    *_, theirs = inputs.call(THEIRS[name], CONFIGS[name])
    _, terms, ours = inputs.call(LOSSES[name], CONFIGS[name])
    padded = (slice(1, 2), slice(None), slice(GRID // 2 + 1, None))  # of the smaller image, a pixel's reach away
    assert theirs[-1][padded].abs().sum() > 0
    assert ours[-1][padded].abs().sum() == 0
    assert ours[-1][1].abs().sum() > 0
    with torch.no_grad():
        inputs.masks[padded] = torch.nan
    _, spoilt, _ = inputs.call(LOSSES[name], CONFIGS[name])
    assert_close(spoilt["loss_mask"], terms["loss_mask"])
    assert_close(spoilt["loss_dice"], terms["loss_dice"])


@pytest.mark.parametrize("name", CONFIGS)
def test_an_inverted_box_raises_there_and_costs_a_finite_sum_here(name: str) -> None:
    inputs = scene(name, (3, 2), 0, torch.float32)
    with torch.no_grad():
        inputs.boxes[..., 2] = -0.1
    with pytest.raises(ValueError, match="must be in"):
        inputs.call(THEIRS[name], CONFIGS[name])
    total, _, grads = inputs.call(LOSSES[name], CONFIGS[name])
    assert total.isfinite()
    assert all(grad.isfinite().all() for grad in grads)


def test_denoising_queries_made_from_a_crowd_learn_nothing() -> None:
    name = "RTDetrForObjectDetection"
    inputs = scene(name, (3, 2), 0, torch.float32)
    crowd = torch.tensor([False, True, False])
    inputs.labels[0]["iscrowd"] = crowd.long()
    assert inputs.meta
    groups, places = inputs.meta["dn_num_group"], inputs.meta["dn_positive_idx"][0]
    _, _, (logits, boxes, *_) = inputs.call(LOSSES[name], CONFIGS[name])
    for grad in (logits[:, 0], boxes[:, 0]):
        pulled = grad[:, places].abs().sum((0, 2)) > 0
        assert torch.equal(pulled, ~crowd.repeat(groups))


SHARED = ("DetrForSegmentation", "DeformableDetrForObjectDetection")


def one_of_two(rank: int, folder: Path) -> None:
    """As a process that accelerate started, on the same images as the other one."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    assert accelerate.PartialState(cpu=True).num_processes == 2
    for name in SHARED:
        inputs = scene(name, (3, 2), 0, torch.float32)
        for side, losses in (("theirs", THEIRS), ("ours", LOSSES)):
            _, terms, _ = inputs.call(losses[name], CONFIGS[name])
            torch.save({key: term.detach() for key, term in terms.items()}, folder / f"{name}-{side}{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_double_their_terms_and_not_ours(tmp_path: Path) -> None:
    """Ranks that hold the same images must see what one process sees."""
    torch.multiprocessing.start_processes(one_of_two, (tmp_path,), nprocs=2, start_method="spawn")
    for name in SHARED:
        _, alone, _ = scene(name, (3, 2), 0, torch.float32).call(THEIRS[name], CONFIGS[name])
        for rank in range(2):
            theirs, ours = (torch.load(tmp_path / f"{name}-{side}{rank}.pt") for side in ("theirs", "ours"))
            assert theirs.keys() == ours.keys() == alone.keys()
            for key, term in alone.items():
                # DETR's class term has a divisor of its own, and the error counts per image.
                right = key.startswith("cardinality") or (key.startswith("loss_ce") and not is_sigmoid(name))
                assert_close(theirs[key], (1 if right else 2) * term.detach())
                assert_close(ours[key], term.detach(), rtol=1e-5, atol=1e-6)
