"""Query sets: predictions that are matched with their own targets. All that a model gives is read as such sets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._core import check_positive
from ..types import QuerySet, Targets
from ._dense import read_targets


class NamedSet(NamedTuple):
    """A query set as the criterion computes it: groups stand beside the layers, targets are repeated."""

    queries: QuerySet
    targets: Targets
    suffixes: tuple[str, ...]
    """Of the names of the terms, one a layer: "", "_aux_0", "_encoder" ..."""


def read_query_sets(
    caller: str, outputs: Mapping[str, Any], targets: Targets | Sequence[Mapping[str, Tensor]], groups: int
) -> list[NamedSet]:
    """Sets of a model's outputs; the first one begins with the last decoder layer."""
    if not isinstance(targets, Targets):
        targets = Targets.from_list(targets, box_format="cxcywh", normalized=True)
    targets = read_targets(targets)
    layers = _layers(caller, outputs)
    sets = [_named(caller, stack, targets) for stack in _stacks(layers, groups)]
    for name, queries in (outputs.get("query_sets") or {}).items():
        suffixes = tuple(f"_{name}_{layer}" for layer in range(len(queries.logits)))
        if layers.keys() & set(suffixes):  # one term would take the place of the other
            raise ValueError(f"{caller}: expected query_sets of names that no layers have, got {name!r}")
        sets.append(_named(caller, (queries, suffixes), targets))
    return sets


def _layers(caller: str, outputs: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By the suffixes of their terms; the last layer first."""
    layers, names = {"": outputs}, {"": "outputs"}
    for index, layer in enumerate(outputs.get("auxiliary_outputs") or ()):
        layers[f"_aux_{index}"], names[f"_aux_{index}"] = layer, f"auxiliary_outputs[{index}]"
    if outputs.get("encoder_outputs") is not None:
        layers["_encoder"], names["_encoder"] = outputs["encoder_outputs"], "encoder_outputs"
    for suffix, layer in layers.items():
        for name in ("logits", "pred_boxes"):
            if name not in layer:
                raise ValueError(f"{caller}: expected {names[suffix]} with {name!r}, got {sorted(layer)}")
    return layers


def _stacks(layers: Mapping[str, Mapping[str, Any]], groups: int) -> list[tuple[QuerySet, tuple[str, ...]]]:
    """Layers of one shape in one set, so that they are matched and compared together."""
    by_shape: dict[Any, list[str]] = {}
    for suffix, layer in layers.items():
        masks = layer.get("pred_masks")
        shape = (layer["logits"].shape, layer["pred_boxes"].shape, None if masks is None else masks.shape)
        by_shape.setdefault(shape, []).append(suffix)
    stacks = []
    for suffixes in by_shape.values():
        members = [layers[suffix] for suffix in suffixes]
        has_masks = members[0].get("pred_masks") is not None
        queries = QuerySet(
            logits=torch.stack([layer["logits"] for layer in members]),
            boxes=torch.stack([layer["pred_boxes"] for layer in members]),
            masks=torch.stack([layer["pred_masks"] for layer in members]) if has_masks else None,
            groups=groups,
        )
        stacks.append((queries, tuple(suffixes)))
    return stacks


def _named(caller: str, stack: tuple[QuerySet, tuple[str, ...]], targets: Targets) -> NamedSet:
    queries, suffixes = stack
    own = targets if queries.targets is None else read_targets(queries.targets)
    _check(caller, queries, own)
    if queries.groups > 1:
        queries = _split_groups(queries)
    return NamedSet(queries, _repeat(own, queries.repeats), suffixes)


def _split_groups(queries: QuerySet) -> QuerySet:
    """Put the groups beside the layers: ``(L, B, G * Q, ...)`` -> ``(L * G, B, Q, ...)``."""

    def split(values: Tensor) -> Tensor:
        layers, images, count, *extra = values.shape
        apart = values.reshape(layers, images, queries.groups, count // queries.groups, *extra)
        return apart.movedim(2, 1).flatten(0, 1)

    masks = None if queries.masks is None else split(queries.masks)
    return queries._replace(logits=split(queries.logits), boxes=split(queries.boxes), masks=masks)


def _repeat(targets: Targets, times: int) -> Targets:
    """Every target so often, all of them one after the other."""
    if times == 1:
        return targets

    def repeat(values: Tensor) -> Tensor:
        return torch.cat([values] * times, dim=1)

    return targets._replace(
        labels=repeat(targets.labels),
        boxes=repeat(targets.boxes),
        valid=repeat(targets.valid),
        ignore=repeat(targets.ignore),
        weights=repeat(targets.weights),
        masks=None if targets.masks is None else repeat(targets.masks),
    )


def _check(caller: str, queries: QuerySet, targets: Targets) -> None:
    logits, boxes, masks = queries.logits, queries.boxes, queries.masks
    numbers = 5 if boxes.shape[-1] == 5 or targets.box_format == "cxcywha" else 4
    if logits.ndim != 4 or boxes.shape != (*logits.shape[:3], numbers):
        got = f"{tuple(logits.shape[1:])} and {tuple(boxes.shape[1:])}"
        raise ValueError(f"{caller}: expected logits (B, Q, C) and pred_boxes (B, Q, {numbers}), got {got}")
    if masks is not None and (masks.ndim != 5 or masks.shape[:3] != logits.shape[:3]):
        wanted = f"({logits.shape[1]}, {logits.shape[2]}, h, w)"
        raise ValueError(f"{caller}: expected pred_masks (B, Q, h, w), here {wanted}, got {tuple(masks.shape[1:])}")
    if len(targets.labels) != logits.shape[1]:
        raise ValueError(f"{caller}: expected targets of {logits.shape[1]} images, got {len(targets.labels)}")
    if masks is not None and targets.masks is None:
        raise ValueError(f"{caller}: expected targets with masks, since the outputs have pred_masks")
    _check_groups(caller, queries)


def _check_groups(caller: str, queries: QuerySet) -> None:
    check_positive(caller, "repeats", queries.repeats)
    check_positive(caller, "groups", queries.groups)
    images, count = queries.logits.shape[1:3]
    if count % queries.groups:
        raise ValueError(f"{caller}: expected queries in {queries.groups} equal groups, got {count} queries")
    if queries.groups > 1 and queries.target_of_query is not None:
        raise ValueError(f"{caller}: expected groups=1 in a query set with target_of_query, got {queries.groups}")
    if queries.counted is not None and queries.target_of_query is None:  # or a padded slot would take a target away
        raise ValueError(f"{caller}: expected target_of_query in a query set with counted, got None")
    for name, values in (("target_of_query", queries.target_of_query), ("counted", queries.counted)):
        if values is not None and values.shape != (images, count):
            got = tuple(values.shape)
            raise ValueError(f"{caller}: expected {name} of shape {(images, count)}, got {got}")
