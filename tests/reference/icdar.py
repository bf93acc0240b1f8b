"""The evaluation of ICDAR 2015, challenge 4, written out pair by pair with Shapely's polygons."""

import shapely
from shapely.geometry import Polygon


def polygon(points, truncate):
    """What a quad fills by the even-odd rule; whole pixels by cutting the fractions off."""
    numbers = [[int(v) if truncate else float(v) for v in point] for point in points]
    return shapely.make_valid(Polygon(numbers))


def iou(first, second):
    shared = first.intersection(second).area
    union = first.area + second.area - shared
    return shared / union if union > 0 else 0


def left_out(found, real, ignore, ignore_threshold):
    """Detections of which more than a share lies in one truth to be ignored."""
    unreadable = [truth for truth, flag in zip(real, ignore, strict=True) if flag]
    return {
        d
        for d, detection in enumerate(found)
        if detection.area > 0
        and any(truth.intersection(detection).area / detection.area > ignore_threshold for truth in unreadable)
    }


def matches(found, real, ignore, not_cared, iou_threshold):
    """Detections that are matched, truth by truth."""
    taken, matched = set(), set()
    for t, truth in enumerate(real):
        for d, detection in enumerate(found):
            if t in taken or d in matched or ignore[t] or d in not_cared:
                continue
            if iou(truth, detection) > iou_threshold:
                taken.add(t)
                matched.add(d)
    return matched


def evaluate(detections, truths, *, iou_threshold=0.5, ignore_threshold=0.5, truncate=True):
    """A dict of the totals, with the counts of each image."""
    images, everything = [], []
    for (found, scores), (real, ignore) in zip(detections, truths, strict=True):
        found = [polygon(points, truncate) for points in found]
        real = [polygon(points, truncate) for points in real]
        not_cared = left_out(found, real, ignore, ignore_threshold)
        matched = matches(found, real, ignore, not_cared, iou_threshold)
        cared = [d for d in range(len(found)) if d not in not_cared]
        images.append((len(matched), len(cared), sum(1 for flag in ignore if not flag)))
        if scores is not None:
            everything += [(float(scores[d]), d in matched) for d in cared]
    matched, found, real = (sum(column) for column in zip(*images, strict=True)) if images else (0, 0, 0)
    recall = 0 if real == 0 else matched / real
    precision = 0 if found == 0 else matched / found
    hmean = 0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
    ranked = sorted(everything, key=lambda pair: -pair[0])
    total, correct = 0.0, 0
    for rank, (_, hit) in enumerate(ranked):
        if hit:
            correct += 1
            total += correct / (rank + 1)
    return {
        "precision": precision,
        "recall": recall,
        "hmean": hmean,
        "average_precision": total / real if real else 0.0,
        "matched": matched,
        "detections": found,
        "truths": real,
        "images": images,
    }
