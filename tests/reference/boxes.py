"""Box losses, a pair at a time, in plain lengths and areas as the papers write them."""

import math

import numpy as np

from .common import elementwise


def over_pairs(loss, boxes, targets, mask, weights):
    values = np.empty(boxes.shape[:-1])
    for index in np.ndindex(*values.shape):
        values[index] = loss(boxes[index], targets[index])
    return elementwise(values, mask, weights)


def sides(box):
    return box[2] - box[0], box[3] - box[1]


def centre(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box):
    width, height = sides(box)
    return width * height


def hull(a, b):
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def diagonal2(box):
    width, height = sides(box)
    return width**2 + height**2


def intersection(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def iou(a, b):
    shared = intersection(a, b)
    return shared / (area(a) + area(b) - shared)


def giou_penalty(a, b):
    around = area(hull(a, b))
    return (around - (area(a) + area(b) - intersection(a, b))) / around


def diou_penalty(a, b):
    (x, y), (s, t) = centre(a), centre(b)
    return ((x - s) ** 2 + (y - t) ** 2) / diagonal2(hull(a, b))


def aspect(a, b):
    (width, height), (other_width, other_height) = sides(a), sides(b)
    return 4 / math.pi**2 * (math.atan(other_width / other_height) - math.atan(width / height)) ** 2


def aspect_penalty(a, b):
    v = aspect(a, b)
    return v**2 / (1 - iou(a, b) + v)


def siou_penalty(a, b, theta=4.0):
    (x, y), (s, t) = centre(a), centre(b)
    sigma = math.hypot(x - s, y - t)
    angle = 1 - 2 * math.sin(math.asin(abs(y - t) / sigma) - math.pi / 4) ** 2
    gamma = 2 - angle
    around = sides(hull(a, b))
    distance = sum(1 - math.exp(-gamma * (d / side) ** 2) for d, side in zip((x - s, y - t), around, strict=True))
    shape = 0.0
    for own, other in zip(sides(a), sides(b), strict=True):
        shape += (1 - math.exp(-abs(own - other) / max(own, other))) ** theta
    return (distance + shape) / 2


def iou_loss(boxes, targets, mask=None, weights=None, *, mode="linear"):
    def loss(a, b):
        if mode == "linear":
            return 1 - iou(a, b)
        if iou(a, b) >= 1e-3:
            return -math.log(iou(a, b))
        return -math.log(1e-3) + (1e-3 - iou(a, b)) / 1e-3

    return over_pairs(loss, boxes, targets, mask, weights)


def giou_loss(boxes, targets, mask=None, weights=None):
    return over_pairs(lambda a, b: 1 - iou(a, b) + giou_penalty(a, b), boxes, targets, mask, weights)


def diou_loss(boxes, targets, mask=None, weights=None):
    return over_pairs(lambda a, b: 1 - iou(a, b) + diou_penalty(a, b), boxes, targets, mask, weights)


def ciou(a, b):
    return iou(a, b) - diou_penalty(a, b) - aspect_penalty(a, b)


def ciou_loss(boxes, targets, mask=None, weights=None):
    return over_pairs(lambda a, b: 1 - ciou(a, b), boxes, targets, mask, weights)


def siou_loss(boxes, targets, mask=None, weights=None, *, theta=4.0):
    return over_pairs(lambda a, b: 1 - iou(a, b) + siou_penalty(a, b, theta), boxes, targets, mask, weights)


def eiou(a, b):
    around = sides(hull(a, b))
    total = iou(a, b) - diou_penalty(a, b)
    for own, other, whole in zip(sides(a), sides(b), around, strict=True):
        total -= (own - other) ** 2 / whole**2
    return total


def eiou_loss(boxes, targets, mask=None, weights=None):
    return over_pairs(lambda a, b: 1 - eiou(a, b), boxes, targets, mask, weights)


def focal_eiou_loss(boxes, targets, mask=None, weights=None, *, gamma=0.5):
    return over_pairs(lambda a, b: iou(a, b) ** gamma * (1 - eiou(a, b)), boxes, targets, mask, weights)


def alpha_iou_loss(boxes, targets, mask=None, weights=None, *, kind="iou", alpha=3.0):
    penalties = {
        "iou": (),
        "giou": (giou_penalty,),
        "diou": (diou_penalty,),
        "ciou": (diou_penalty, aspect_penalty),
    }

    def loss(a, b):
        return 1 - iou(a, b) ** alpha + sum(penalty(a, b) ** alpha for penalty in penalties[kind])

    return over_pairs(loss, boxes, targets, mask, weights)


def wise_iou_loss(
    boxes,
    targets,
    mask=None,
    weights=None,
    *,
    version="v1",
    running_mean=None,
    gamma=0.5,
    alpha=1.9,
    delta=3.0,
):
    def loss(a, b):
        first = math.exp(diou_penalty(a, b)) * (1 - iou(a, b))
        if version == "v1":
            return first
        b_ = (1 - iou(a, b)) / float(running_mean)
        return first * (b_**gamma if version == "v2" else b_ / (delta * alpha ** (b_ - delta)))

    return over_pairs(loss, boxes, targets, mask, weights)


def mpdiou_loss(boxes, targets, mask=None, weights=None, *, image_size=None):
    def loss(a, b):
        whole = diagonal2(hull(a, b)) if image_size is None else image_size[0] ** 2 + image_size[1] ** 2
        corners = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2 + (a[3] - b[3]) ** 2
        return 1 - iou(a, b) + corners / whole

    return over_pairs(loss, boxes, targets, mask, weights)


def scaled(box, ratio):
    (x, y), (width, height) = centre(box), sides(box)
    return (
        x - ratio * width / 2,
        y - ratio * height / 2,
        x + ratio * width / 2,
        y + ratio * height / 2,
    )


def inner_iou_loss(boxes, targets, mask=None, weights=None, *, ratio=0.7, kind="iou"):
    similarities = {
        "iou": iou,
        "giou": lambda a, b: iou(a, b) - giou_penalty(a, b),
        "diou": lambda a, b: iou(a, b) - diou_penalty(a, b),
        "ciou": ciou,
        "eiou": eiou,
        "siou": lambda a, b: iou(a, b) - siou_penalty(a, b),
    }

    def loss(a, b):
        return 1 - similarities[kind](a, b) + iou(a, b) - iou(scaled(a, ratio), scaled(b, ratio))

    return over_pairs(loss, boxes, targets, mask, weights)


def shape_iou_loss(boxes, targets, mask=None, weights=None, *, scale=0.0):
    def loss(a, b):
        (width, height), (other_width, other_height) = sides(a), sides(b)
        ww = 2 * other_width**scale / (other_width**scale + other_height**scale)
        hh = 2 * other_height**scale / (other_width**scale + other_height**scale)
        (x, y), (s, t) = centre(a), centre(b)
        distance = (hh * (x - s) ** 2 + ww * (y - t) ** 2) / diagonal2(hull(a, b))
        wider = hh * abs(width - other_width) / max(width, other_width)
        higher = ww * abs(height - other_height) / max(height, other_height)
        shape = (1 - math.exp(-wider)) ** 4 + (1 - math.exp(-higher)) ** 4
        return 1 - iou(a, b) + distance + 0.5 * shape

    return over_pairs(loss, boxes, targets, mask, weights)


def nwd_loss(boxes, targets, mask=None, weights=None, *, constant=12.8):
    def loss(a, b):
        one = np.array([*centre(a), *(np.array(sides(a)) / 2)])
        other = np.array([*centre(b), *(np.array(sides(b)) / 2)])
        return 1 - math.exp(-np.linalg.norm(one - other) / constant)

    return over_pairs(loss, boxes, targets, mask, weights)
