"""Query sets of a SetCriterion: denoising queries, repeated targets, groups, and targets of their own."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import matchloss
import set_scenes as scene
from host_reads import NoHostReads
from matchloss import QuerySet
from matchloss.criteria import SetCriterion
from matchloss.types import LossTerms
from reference.set_criterion import Layer, criterion as slow
from set_scenes import ANNOTATIONS, CLASSES, CROWDED, NOTHING, TWO, gradients, leaves
from test_set_criterion import PRESETS, Case, assert_same, assert_terms

EACH_PRESET = pytest.mark.parametrize("case", PRESETS.values(), ids=PRESETS)


def query_set(channels: int, *, layers: int = 2, queries: int = 6, masks: bool = False, **fields: Any) -> QuerySet:
    """Random predictions of some layers."""
    parts = [scene.layer(channels, queries=queries, masks=masks, seed=50 + layer) for layer in range(layers)]
    stacked = [torch.stack([part[name] for part in parts]) if name in parts[0] else None for name in scene.NAMES]
    return QuerySet(*stacked, **fields)


def denoising(channels: int, *, masks: bool = True, **fields: Any) -> QuerySet:
    """Two groups of three queries and their negatives; the first image has two objects, so each has a padded slot.

    In the second image a query of the first group asks for the crowd, which is nobody's target.
    """
    known = torch.full((3, 12), -1)
    known[0, [0, 1, 6, 7, 8]] = torch.tensor([0, 1, 1, 0, 1])  # the last one in a padded slot
    known[1, [0, 1, 2, 6, 7, 8]] = torch.tensor([0, 2, 1, 2, 0, 3])
    counted = torch.tensor([[1, 1, 0, 1, 1, 0] * 2, [1] * 12, [0] * 12]).bool()
    return query_set(channels, queries=12, masks=masks, target_of_query=known, counted=counted, repeats=2, **fields)


def alone(case: Case, queries: QuerySet, targets: Any = ANNOTATIONS, **options: Any) -> dict[str, Tensor]:
    """Terms of a set called "set", without its name."""
    found = {**scene.layer(case.channels), "query_sets": {"set": queries}}
    terms = case.criterion(found, targets, **options).terms
    assert {"class", "l1", "giou"} <= terms.keys()
    return {name.replace("_set", ""): term for name, term in terms.items() if "_set_" in name}


def wanted(case: Case, queries: QuerySet, annotations: Sequence[Any] = ANNOTATIONS) -> dict[str, float]:
    """The same of the slow form."""
    fields = {
        "known": queries.target_of_query,
        "counted": queries.counted,
        "copies": queries.repeats,
        "groups": queries.groups,
        "weight": queries.weight,
    }
    fields = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in fields.items()}
    predictions = [values for values in (queries.logits, queries.boxes, queries.masks) if values is not None]
    layers = {
        f"_{i}": Layer(*(part.numpy() for part in parts), **fields)
        for i, parts in enumerate(zip(*predictions, strict=True))
    }
    return slow(layers, scene.arrays(annotations), case.rule)[0]


def assert_equal(terms: dict[str, Tensor], numbers: dict[str, float]) -> None:
    assert_terms(LossTerms(torch.stack(list(terms.values())).sum(), terms, {}), numbers)


SETS = {
    "denoising": denoising,
    "without masks": lambda channels: denoising(channels, masks=False),
    "one to many": lambda channels: query_set(channels, queries=12, masks=True, repeats=3),
    "more targets than queries": lambda channels: query_set(channels, queries=4, repeats=3),
    "groups": lambda channels: query_set(channels, queries=15, masks=True, groups=3),
    "repeated in groups": lambda channels: query_set(channels, queries=16, repeats=2, groups=2, weight=0.5),
}


@EACH_PRESET
@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_equals_the_slow_form(case: Case, make: Any) -> None:
    queries = make(case.channels)
    terms = alone(case, queries)
    assert_equal(terms, wanted(case, queries))
    assert list(terms) == [
        f"{name}_{i}"
        for name in ("class", "l1", "giou", "mask", "dice")[: 5 if queries.masks is not None else 3]
        for i in range(2)
    ]
    assert all(term > 0 for term in terms.values())


@EACH_PRESET
def test_sets_stand_beside_the_layers(case: Case) -> None:
    """Neither changes the other; stats are those of the last layer, but for the broken pairs of all."""
    found = scene.outputs(case.channels, masks=True)
    plain = case.criterion(found, ANNOTATIONS)
    sets = {"denoising": denoising(case.channels), "many": query_set(case.channels, repeats=2)}
    loss = case.criterion({**found, "query_sets": sets}, ANNOTATIONS)
    assert_same(LossTerms(plain.total, {name: loss.terms[name] for name in plain.terms}, loss.stats), plain)
    assert len(loss.terms) == len(plain.terms) + 2 * 5 + 2 * 3
    assert_close(loss.total, torch.stack(list(loss.terms.values())).sum())
    sets["many"].boxes[0, 0, 0] = math.nan  # one query for two targets, twice
    assert case.criterion({**found, "query_sets": sets}, ANNOTATIONS).stats["broken"] == 4


@EACH_PRESET
def test_padded_slots_cost_nothing(case: Case) -> None:
    found, inputs = leaves({"query_sets": {"set": denoising(case.channels)}})
    queries = found["query_sets"]["set"]
    terms = alone(case, queries)
    padded = ~queries.counted
    for grad in gradients(torch.stack(list(terms.values())).sum(), inputs):
        assert not grad[:, padded].any()
        assert grad[:, ~padded].any()
    with torch.no_grad():
        for values in inputs:
            values[:, padded] = math.nan
    again = alone(case, queries)
    for name, term in terms.items():
        assert_close(again[name], term)
    assert all(grad.isfinite().all() for grad in gradients(torch.stack(list(again.values())).sum(), inputs))


@EACH_PRESET
def test_denoising_queries_learn_the_target_they_were_made_of(case: Case) -> None:
    queries = denoising(case.channels)
    shown = queries._replace(boxes=queries.boxes.clone(), masks=queries.masks.clone())
    for b, q in ((queries.target_of_query >= 0) & queries.counted).nonzero().tolist():
        target = queries.target_of_query[b, q]
        shown.boxes[:, b, q] = ANNOTATIONS[b]["boxes"][target]
        assert queries.target_of_query[b, q] == target
    terms = alone(case, shown)
    for layer in range(2):
        assert_close(terms[f"l1_{layer}"], torch.tensor(0.0, dtype=torch.float64))
        assert terms[f"giou_{layer}"].abs() < 1e-12
    # A repeat of the targets is the same target.
    repeated = torch.where(queries.target_of_query >= 0, queries.target_of_query + 4, -1)
    for name, term in alone(case, queries._replace(target_of_query=repeated)).items():
        assert_close(term, alone(case, queries)[name])


@EACH_PRESET
def test_no_queries_are_zero_with_the_same_names(case: Case) -> None:
    """As where no image of a rank has an object."""
    queries = denoising(case.channels)
    empty = QuerySet(
        *(values[:, :, :0].requires_grad_() for values in queries[:3]),
        target_of_query=queries.target_of_query[:, :0],
        counted=queries.counted[:, :0],
    )
    for annotations in ([NOTHING] * 3, ANNOTATIONS):
        terms = alone(case, empty, annotations)
        assert terms.keys() == alone(case, queries).keys()
        assert all(term == 0 and term.requires_grad for term in terms.values())


@EACH_PRESET
def test_weight_multiplies_all_terms(case: Case) -> None:
    once, more = (alone(case, denoising(case.channels, weight=weight)) for weight in (1.0, 2.5))
    for name, term in once.items():
        assert_close(more[name], 2.5 * term)


@EACH_PRESET
def test_repeats_are_targets_given_several_times(case: Case) -> None:
    queries = query_set(case.channels, queries=12)
    thrice = [{name: torch.cat([values] * 3) for name, values in image.items()} for image in ANNOTATIONS]
    many, given = alone(case, queries._replace(repeats=3)), alone(case, queries, thrice)
    assert_equal(many, {name: term.item() for name, term in given.items()})
    nothing = [NOTHING] * 3  # counts as one target, thrice
    assert_equal(alone(case, queries._replace(repeats=3), nothing), wanted(case, queries._replace(repeats=3), nothing))
    number = torch.tensor(10.0, dtype=torch.float64)  # of targets, each of which counts thrice
    assert_close(alone(case, queries._replace(repeats=3), normalizer=number)["l1_0"], many["l1_0"] * 5 / 10)


@EACH_PRESET
def test_groups_are_the_mean_of_criteria_of_their_own(case: Case) -> None:
    """Where no query lies on a crowd, groups have the same sum of class weights too."""
    crowdless = [TWO, {**CROWDED, "iscrowd": torch.zeros(4)}, NOTHING]
    found, inputs = leaves(scene.outputs(case.channels, queries=12, masks=True))
    found["encoder_outputs"] = scene.layer(case.channels, queries=12)
    grouped = SetCriterion(
        CLASSES,
        groups=3,
        assigner=case.criterion.assigner,
        class_loss=case.criterion.class_loss,
        scores=case.criterion.scores,
        class_weight=case.criterion.weights["class"],
    )
    loss = grouped(found, crowdless)
    parts = [case.criterion(scene.mapped(found, lambda v, g=g: v[:, 4 * g : 4 * g + 4]), crowdless) for g in range(3)]
    assert loss.terms.keys() == parts[0].terms.keys()
    for name, term in loss.terms.items():
        assert_close(term, sum(part.terms[name] for part in parts) / 3)
    for name, value in parts[0].stats.items():  # those of the first group, but for the broken pairs of all
        assert_close(loss.stats[name], value)
    total = sum(part.total for part in parts) / 3
    for grad, other in zip(gradients(loss.total, inputs), gradients(total, inputs), strict=True):
        assert_close(grad, other)
    queries = QuerySet(*(found[name].detach()[None] for name in scene.NAMES), groups=3)
    for name, term in alone(case, queries, crowdless).items():
        assert_close(term, loss.terms[name.removesuffix("_0")])
    assert_terms(
        grouped(found, ANNOTATIONS),
        slow(scene.reference_layers(found, groups=3), scene.arrays(ANNOTATIONS), case.rule)[0],
    )


@EACH_PRESET
def test_sets_may_have_their_own_targets(case: Case) -> None:
    """A class-agnostic encoder, and another number of targets, that divide its own terms."""
    own = [{**image, "labels": torch.zeros_like(image["labels"])} for image in (CROWDED, NOTHING, NOTHING)]
    queries = query_set(case.channels, masks=True)
    terms = alone(case, queries._replace(targets=scene.targets(own)))
    assert_equal(terms, wanted(case, queries, own))
    found = {name: values[0] for name, values in zip(scene.NAMES, queries[:3], strict=True)}
    for name, term in case.criterion(found, own).terms.items():
        assert_close(terms[f"{name}_0"], term)
    size = (480, 640)  # and of their own format
    boxes = scene.targets(own).boxes * torch.tensor([640.0, 480, 640, 480])
    pixels = scene.targets(own)._replace(boxes=boxes, normalized=False, image_size=size)
    for name, term in alone(case, queries._replace(targets=pixels)).items():
        assert_close(term, terms[name])


@EACH_PRESET
def test_weights_of_targets_reach_denoising_queries(case: Case) -> None:
    queries = denoising(case.channels)
    zero, one, three = (alone(case, queries, scene.weighed([1.0, weight])) for weight in (0.0, 1.0, 3.0))
    for name in one:
        assert one[name] > zero[name]
        assert_close(three[name] - zero[name], 3 * (one[name] - zero[name]))


@EACH_PRESET
def test_gradient_equals_finite_differences_and_the_plain_form(case: Case) -> None:
    sets = {"dn": denoising(case.channels), "group": query_set(case.channels, queries=8, masks=True, groups=2)}
    found, inputs = leaves({**scene.layer(case.channels), "query_sets": sets})

    def total(*_: Tensor) -> Tensor:
        terms = case.criterion(found, ANNOTATIONS).terms
        return torch.stack([term for name, term in terms.items() if not case.rule.soft or "class" not in name]).sum()

    assert torch.autograd.gradcheck(total, inputs, fast_mode=True)
    loss = case.criterion(found, ANNOTATIONS)
    with matchloss.reference():
        plain = case.criterion(found, ANNOTATIONS)
    assert_same(loss, plain)
    for grad, other in zip(gradients(loss.total, inputs), gradients(plain.total, inputs), strict=True):
        assert_close(grad, other)


def test_traces_in_one_graph() -> None:
    case = PRESETS["rtdetr"]
    sets = {"dn": denoising(CLASSES, masks=False), "many": query_set(CLASSES, repeats=2, groups=2)}
    found, inputs = leaves({**scene.layer(case.channels), "query_sets": sets})
    compiled = torch.compile(case.criterion, fullgraph=True, backend="aot_eager")
    wanted, got = case.criterion(found, scene.targets()), compiled(found, scene.targets())
    assert_same(got, wanted)
    for grad, other in zip(gradients(got.total, inputs), gradients(wanted.total, inputs), strict=True):
        assert_close(grad, other)


@EACH_PRESET
def test_reads_nothing_on_the_host(case: Case) -> None:
    sets = {"dn": denoising(case.channels), "many": query_set(case.channels, repeats=2, groups=2)}
    on_meta = scene.mapped({**scene.layer(case.channels), "query_sets": sets}, lambda v: v.to("meta"))
    found, inputs = leaves(on_meta)
    criterion = SetCriterion(CLASSES, class_loss=case.criterion.class_loss, scores=case.criterion.scores).to("meta")
    with NoHostReads():
        gradients(criterion(found, scene.mapped(scene.targets(), lambda v: v.to("meta"))).total, inputs)


FIELDS = {"target_of_query": torch.zeros(3, 6, dtype=torch.long)}


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("aux", {}, "names that no layers have, got 'aux'"),
        ("set", {"groups": 4}, "queries in 4 equal groups, got 6 queries"),
        ("set", {"groups": 0}, "groups > 0, got 0"),
        ("set", {"repeats": 0}, "repeats > 0, got 0"),
        ("set", {"groups": 2, **FIELDS}, "groups=1 in a query set with target_of_query, got 2"),
        ("set", {"counted": torch.ones(3, 6).bool()}, "target_of_query in a query set with counted, got None"),
        (
            "set",
            {"target_of_query": torch.zeros(6, dtype=torch.long)},
            r"target_of_query of shape \(3, 6\), got \(6,\)",
        ),
        ("set", {**FIELDS, "counted": torch.ones(3, 1).bool()}, r"counted of shape \(3, 6\), got \(3, 1\)"),
        ("set", {"masks": torch.zeros(2, 3, 5, 3, 4)}, r"pred_masks \(B, Q, h, w\).*got \(3, 5, 3, 4\)"),
        ("set", {"targets": scene.targets([TWO])}, "targets of 3 images, got 1"),
        ("set", {"boxes": torch.zeros(2, 3, 6, 6)}, r"pred_boxes \(B, Q, 4\), got .*\(3, 6, 6\)"),
        ("set", {"logits": torch.zeros(2, 3, 6, 3)}, "4 class logits, the last for no object, got 3"),
    ],
)
def test_errors_are_one_clear_sentence(name: str, fields: Any, message: str) -> None:
    found = scene.outputs(CLASSES + 1, auxiliary=1)
    found["query_sets"] = {name: query_set(CLASSES + 1)._replace(**fields)}
    with pytest.raises(ValueError, match="SetCriterion: expected .*" + message):
        SetCriterion.detr(CLASSES)(found, ANNOTATIONS)


def test_groups_of_a_criterion() -> None:
    grouped = SetCriterion(CLASSES, groups=2)
    with pytest.raises(ValueError, match="expected groups=1 to match one set of queries, got 2"):
        grouped.match(scene.layer(CLASSES + 1, queries=8), ANNOTATIONS)
    with pytest.raises(ValueError, match="queries in 2 equal groups, got 7 queries"):
        grouped(scene.layer(CLASSES + 1), ANNOTATIONS)
