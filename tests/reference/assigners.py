"""Matching of one image, with loops: the rules as sentences. Overlaps come in as a matrix (targets, anchors), NaN where
a prediction is not finite.

Each returns the row of every anchor's target, -1 for none; `usable` says which targets may match.
"""

import numpy as np


def max_iou(overlap, usable, *, positive=0.5, low_quality=True, least=0.0, conflict="overlap"):
    anchors = overlap.shape[1]
    best = np.full(anchors, -1.0)
    own_best = np.full(anchors, -1)
    for t in np.flatnonzero(usable):
        for a in range(anchors):
            if overlap[t, a] > best[a]:
                best[a], own_best[a] = overlap[t, a], t
    owner = np.where(best >= positive, own_best, -1)
    claims = [[] for _ in range(anchors)]
    for t in np.flatnonzero(usable) if low_quality else ():
        highest = np.nanmax(overlap[t], initial=0)
        for a in range(anchors):
            if overlap[t, a] == highest and highest > 0 and highest >= least:
                claims[a].append(t)
    for a, rows in enumerate(claims):
        if rows:
            by_overlap = sorted(rows, key=lambda t, a=a: (-overlap[t, a], t))[0]
            owner[a] = {"overlap": by_overlap, "last": rows[-1], "own": own_best[a]}[conflict]
    return owner, best


def atss(overlap, boxes, usable, centers, counts, *, topk=9, strict=False, margin=0.0, conflict="selected", least=None):
    targets, anchors = overlap.shape
    claims = [[] for _ in range(anchors)]
    wishes = {}
    for t in range(targets):
        if not usable[t]:
            continue
        x1, y1, x2, y2 = boxes[t]
        middle = np.array([x1 / 2 + x2 / 2, y1 / 2 + y2 / 2])
        candidates, start = [], 0
        for count in counts:
            away = [np.float32(((centers[a] - middle) ** 2).sum()) for a in range(start, start + count)]
            nearest = sorted(range(count), key=lambda i, away=away: (away[i], i))[:topk]
            candidates += [start + i for i in nearest]
            start += count
        values = [overlap[t, a] for a in candidates]
        spread = np.std(np.array(values, np.longdouble), ddof=1) if len(values) > 1 else 0.0
        threshold = np.mean(np.array(values, np.longdouble)) + spread
        for a in candidates:
            x, y = centers[a]
            inside = min(x - x1, x2 - x, y - y1, y2 - y) > margin
            high = overlap[t, a] > threshold if strict else overlap[t, a] >= threshold
            if inside and high:
                claims[a].append(t)
        wishes[t] = sorted(candidates, key=lambda a, t=t: -overlap[t, a])  # stable
    owner = np.full(anchors, -1)
    for a, rows in enumerate(claims):
        asked = [t for t in range(targets) if usable[t]] if conflict == "all" and len(rows) > 1 else rows
        if rows:
            owner[a] = sorted(asked, key=lambda t, a=a: (-overlap[t, a], t))[0]
    if least is not None:
        give_missing(owner, wishes, lambda t, a: -np.float32(overlap[t, a]), least)
    return owner


def simota(overlap, probs, labels, boxes, usable, points, strides, *, radius, center_only, topk, weight, eps, conflict,
           least=None):  # fmt: skip
    targets, count = overlap.shape
    center, inside = np.zeros((targets, count), bool), np.zeros((targets, count), bool)
    for t in range(targets):
        x1, y1, x2, y2 = boxes[t]
        for a in range(count):
            x, y = points[a]
            r = radius * strides[a]
            center[t, a] = usable[t] and abs(x - (x1 / 2 + x2 / 2)) < r and abs(y - (y1 / 2 + y2 / 2)) < r
            inside[t, a] = usable[t] and x1 < x < x2 and y1 < y < y2
    near = center if center_only else center | inside
    early = center if center_only else center & inside
    asked = near.any(0)
    cost = np.zeros((targets, count), np.float32)
    possible = np.zeros((targets, count), bool)
    for t in range(targets):
        for a in range(count):
            with np.errstate(all="ignore"):
                wanted = np.arange(probs.shape[1]) == labels[t]
                log_p, log_q = np.maximum(np.log(probs[a]), -100), np.maximum(np.log(1 - probs[a]), -100)
                value = -np.where(wanted, log_p, log_q).sum() - weight * np.log(overlap[t, a] + eps)
            cost[t, a] = max(value, 0)
            possible[t, a] = usable[t] and asked[a] and np.isfinite(value)
    order = lambda t, a: (not early[t, a], cost[t, a])  # noqa: E731
    claims, wishes = [[] for _ in range(count)], {}
    for t in range(targets):
        wishes[t] = sorted(np.flatnonzero(possible[t]), key=lambda a, t=t: (*order(t, a), a))[:topk]
        best = sorted((overlap[t, a] for a in np.flatnonzero(possible[t])), reverse=True)[:topk]
        for a in wishes[t][: max(1, int(sum(best)))]:
            claims[a].append(t)
    owner = np.full(count, -1)
    for a, rows in enumerate(claims):
        asking = [t for t in range(targets) if possible[t, a]] if conflict == "all" and len(rows) > 1 else rows
        if rows:
            owner[a] = sorted(asking, key=lambda t, a=a: (*order(t, a), t))[0]
    if least is not None:
        give_missing(owner, wishes, order, least)
    return owner


def give_missing(owner, wishes, key, least):
    """Rounds, in which each target that is short asks for one point, and the least key gets it."""
    offered = set(np.flatnonzero(owner < 0))
    for t, wanted in wishes.items():
        mine = [a for a in wanted if owner[a] == t]
        offered |= set(mine[least:])
    while True:
        asks = {}
        for t, wanted in wishes.items():
            if (owner == t).sum() < least:
                for a in wanted:
                    if a in offered and owner[a] != t:
                        asks.setdefault(a, []).append(t)
                        break
        if not asks:
            return
        for a, rows in asks.items():
            owner[a] = sorted(rows, key=lambda t, a=a: (key(t, a), t))[0]
            offered.discard(a)
