"""Target maps of scene text, word by word and point by point. An image is a list of quads and of flags."""

import math

import numpy as np


def is_inside(polygon, point):
    """The polygon turns about the point: the angles under which its edges are seen do not add up to nothing."""
    arms = np.asarray(polygon, float) - point
    if (arms.min(0) > 0).any() or (arms.max(0) < 0).any():
        return False
    angles = np.arctan2(arms[:, 1], arms[:, 0])
    turns = (np.roll(angles, -1) - angles + np.pi) % (2 * np.pi) - np.pi
    return abs(turns.sum()) > 1


def area(polygon):
    return 0.5 * sum(
        polygon[k][0] * polygon[k - 3][1] - polygon[k - 3][0] * polygon[k][1] for k in range(4)
    )  # k - 3 is the next one


def side(polygon, k):
    return math.dist(polygon[k], polygon[(k + 1) % 4])


def crosses(polygon):
    """Whether an edge meets the one across from it in between."""

    def turn(a, b, c):
        return np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    def meet(a, b, c, d):
        return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0

    a, b, c, d = polygon
    return meet(a, b, c, d) or meet(b, c, d, a)


def shrunk(polygon, share):
    """Section 3.3.1 of the paper: the longer pair of edges first, then the other along the moved corners."""
    moved = [np.array(corner, float) for corner in polygon]
    reach = [share * min(side(polygon, k), side(polygon, k - 1)) for k in range(4)]
    pairs = [((0, 1), (2, 3)), ((1, 2), (3, 0))]
    if side(polygon, 0) + side(polygon, 2) <= side(polygon, 1) + side(polygon, 3):
        pairs.reverse()
    for pair in pairs:
        for i, j in pair:
            direction = (moved[j] - moved[i]) / np.linalg.norm(moved[j] - moved[i])
            moved[i], moved[j] = moved[i] + reach[i] * direction, moved[j] - reach[j] * direction
    return np.array(moved)


def rectangles(polygon):
    """Area, centre, sides and angle from +x to +y of the rectangles along each side, then along the diagonals."""
    points, found = np.array(polygon, float), []
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3)):
        along = points[j] - points[i]
        if not along.any():
            continue
        along /= np.linalg.norm(along)
        across = np.array([-along[1], along[0]])
        u, v = points @ along, points @ across
        width, height = np.ptp(u), np.ptp(v)
        center = (u.min() + u.max()) / 2 * along + (v.min() + v.max()) / 2 * across
        found.append((width * height, center, width, height, math.atan2(along[1], along[0])))
    return found


def smallest_rectangle(polygon):
    """Centre, sides and angle from +x to +y: of the rectangles along two corners the first whose area is the least, to
    five digits, with its width along the line of text."""
    points, found = np.array(polygon, float), rectangles(polygon)
    least = min(one[0] for one in found)
    _, center, width, height, angle = next(one for one in found if one[0] <= least * (1 + 1e-5))
    text = points[1] - points[0] + points[2] - points[3]
    quarter = round((math.atan2(text[1], text[0]) - angle) / (math.pi / 2))
    if quarter % 2:
        width, height = height, width
    return center, width, height, angle + quarter * math.pi / 2


def in_range(width, height, angle, rule):
    """The same rectangle with its angle (from +x to +y) in (-90, 90], or in [-45, 45) degrees."""
    if rule == "reading":
        while angle > math.pi / 2:
            angle -= math.pi
        while angle <= -math.pi / 2:
            angle += math.pi
        return width, height, angle
    while angle >= math.pi / 4:
        width, height, angle = height, width, angle - math.pi / 2
    while angle < -math.pi / 4:
        width, height, angle = height, width, angle + math.pi / 2
    return width, height, angle


def learnable(polygon, flag, min_side):
    shortest = min(side(polygon, k) for k in range(4))
    flat = abs(area(polygon)) <= 1e-6 * max(side(polygon, k) for k in range(4)) ** 2
    return not flag and not flat and not crosses(polygon) and shortest > 0 and shortest >= min_side


def turned(polygon):
    return polygon if area(polygon) >= 0 else polygon[[0, 3, 2, 1]]


def east(quads, ignore, size, *, stride, geometry, shrink, min_side, one_cell_at_least, distance_order, angle):
    """Score, geometry (channels last), mask, word and shortest edge of one image."""
    height, width = math.ceil(size[0] / stride), math.ceil(size[1] / stride)
    quads = [turned(np.asarray(quad, float)) for quad in quads]
    owner = -np.ones((height, width), int)
    cells = [(i, j) for i in range(height) for j in range(width)]
    for n in sorted(range(len(quads)), key=lambda n: (abs(area(quads[n])), n)):
        if learnable(quads[n], ignore[n], min_side):
            for i, j in wanted(quads[n], cells, stride, shrink, one_cell_at_least):
                owner[i, j] = n if owner[i, j] < 0 else owner[i, j]
    mask = np.ones((height, width), bool)
    maps = np.zeros((height, width, 5 if geometry == "rbox" else 8))
    shortest = np.zeros((height, width))
    for n, quad in enumerate(quads):
        if not (owner == n).any():
            for i, j in cells:
                if owner[i, j] < 0 and is_inside(quad, (stride * j, stride * i)):
                    mask[i, j] = False
    for i, j in cells:
        n, point = owner[i, j], np.array([stride * j, stride * i], float)
        if n >= 0:
            shortest[i, j] = min(side(quads[n], k) for k in range(4))
            maps[i, j] = (
                rbox(quads[n], point, distance_order, angle) if geometry == "rbox" else (quads[n] - point).ravel()
            )
    return owner >= 0, maps, mask, owner, shortest


def wanted(quad, cells, stride, shrink, one_cell_at_least):
    """The cells in the shrunk word; if there are none, the one at the centre."""
    inner = shrunk(quad, shrink)
    mine = [(i, j) for i, j in cells if is_inside(inner, (stride * j, stride * i))]
    if not mine and one_cell_at_least:
        x, y = quad.mean(0)
        i, j = min(cells, key=lambda cell: math.hypot(stride * cell[1] - x, stride * cell[0] - y))
        mine = [(i, j)] if is_inside(quad, (stride * j, stride * i)) else []
    return mine


def rbox(quad, point, distance_order, rule):
    """Distances to the sides of the rectangle, and its angle, counter-clockwise."""
    center, width, height, angle = smallest_rectangle(quad)
    width, height, angle = in_range(width, height, angle, rule)
    right = np.array([math.cos(angle), math.sin(angle)])
    down = np.array([-right[1], right[0]])
    u, v = (point - center) @ right, (point - center) @ down
    far = {"t": height / 2 + v, "r": width / 2 - u, "b": height / 2 - v, "l": width / 2 + u}
    return [*(far[letter] for letter in distance_order), -angle]


def to_outline(quad, point):
    """Distance to the nearest point of the four edges."""
    best = np.inf
    for k in range(4):
        start, edge = quad[k], quad[(k + 1) % 4] - quad[k]
        share = min(max((point - start) @ edge / max(edge @ edge, 1e-300), 0.0), 1.0)
        best = min(best, np.linalg.norm(point - start - share * edge))
    return best


def db(quads, ignore, size, *, stride, shrink, threshold_range, min_side):
    """Score, mask, threshold and its mask of one image."""
    height, width = math.ceil(size[0] / stride), math.ceil(size[1] / stride)
    score, near = np.zeros((height, width), bool), np.zeros((height, width), bool)
    hidden, border = np.zeros((height, width), bool), np.zeros((height, width))
    for quad, flag in zip(quads, ignore, strict=True):
        quad = turned(np.asarray(quad, float))
        margin = abs(area(quad)) * (1 - shrink**2) / sum(side(quad, k) for k in range(4))
        usable, inner = learnable(quad, flag, min_side), np.zeros_like(score)
        inside = np.zeros_like(score)
        for i in range(height):
            for j in range(width):
                point = np.array([stride * j, stride * i], float)
                inside[i, j] = is_inside(quad, point)
                far = to_outline(quad, point)
                inner[i, j] = usable and inside[i, j] and far >= margin
                if usable and (inside[i, j] or far <= margin):
                    near[i, j] = True
                    border[i, j] = max(border[i, j], 1 - far / margin)
        score |= inner
        if not inner.any():
            hidden |= inside
    low, high = threshold_range
    return score, score | ~hidden, low + (high - low) * border, near
