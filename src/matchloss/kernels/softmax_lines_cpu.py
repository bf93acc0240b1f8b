"""Likelihood of labels, class by class: each class has its pixels in a line, of which many are done at once."""

import numpy as np
from numba import njit

from .float_math_cpu import ONE, ZERO, exp_of_negative, log_of_normal
from .softmax_tile_cpu import WIDEST, clear, copy_pulls, load_rows, load_tile, pick, tile_width


@njit(nogil=True, cache=True, error_model="numpy")
def read_lines(read, first, last, spread, out):
    """A unit is a tile: some pixels of one image."""
    log_prob, summed, kept = out
    classes, pixels = read.shape[1], read.shape[2]
    width = tile_width(classes)
    tiles, room, line = -(-pixels // width), np.empty(classes * width, np.float32), np.empty(width, np.float32)
    for unit in range(first, last):
        image, begin = unit // tiles, unit % tiles * width
        count, at = min(width, pixels - begin), image * pixels + begin
        highest, total = kept[0, at : at + count], kept[1, at : at + count]
        tile, own, logarithms = room[: classes * count], log_prob[at : at + count], line[:count]
        labels, counted = read.labels[at : at + count], read.counted[at : at + count]
        if read.are_rows:
            load_rows(read.logits[at * classes : (at + count) * classes], tile, highest)
        else:
            load_tile(read.logits, (image * classes * pixels + begin, pixels), tile, highest)
        pick(tile, labels, counted, own)
        _sum_exponentials(tile, highest, total)
        _log_probs(own, highest, total, logarithms)
        clear(own, counted)
        if len(spread) > 0:
            _sum_log_probs(tile, spread, highest, logarithms, summed[at : at + count])
            clear(summed[at : at + count], counted)


@njit(nogil=True, cache=True, error_model="numpy")
def write_lines(read, first, last, of_results, spread, kept, grad):
    """A unit is as many pixels of one image as fit the first cache, with what belongs to them, class by class."""
    of_log_prob, of_summed = of_results
    classes, pixels = read.shape[1], read.shape[2]
    blocks, mass = -(-pixels // WIDEST), spread_mass(spread)
    lines, marks = np.zeros((3, WIDEST), np.float32), np.empty(WIDEST, np.int32)
    for unit in range(first, last):
        image, begin = unit // blocks, unit % blocks * WIDEST
        count, at = min(WIDEST, pixels - begin), image * pixels + begin
        pulls, evenly, common = lines[0, :count], lines[1, :count], lines[2, :count]
        labels, counted, own = read.labels[at : at + count], read.counted[at : at + count], marks[:count]
        own[:] = labels
        copy_pulls(of_log_prob, at, counted, pulls)
        if len(spread) > 0:
            copy_pulls(of_summed, at, counted, evenly)
        _weigh(pulls, evenly, mass, kept[1, at : at + count], common)
        for k in range(classes):
            place = (image * classes + k) * pixels + begin
            logits, line = read.logits[place : place + count], grad[place : place + count]
            _write_line(logits, kept[0, at : at + count], common, (own, np.int32(k), pulls), line)
            if len(spread) > 0:
                _add_line(evenly, spread[k], line)
            clear(line, counted)


@njit(nogil=True, cache=True)
def spread_mass(spread):
    """Of all classes; 0 without a spread."""
    total = 0.0
    for k in range(len(spread)):
        total += spread[k]
    return np.float32(total)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_exponentials(tile, highest, total):
    count = len(total)
    total[:] = ZERO
    for k in range(len(tile) // count):
        _add_exponentials(tile[k * count : (k + 1) * count], highest, total)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _add_exponentials(line, highest, total):
    for i in range(len(line)):
        total[i] += exp_of_negative(line[i] - highest[i])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _log_probs(own, highest, total, logarithms):
    """Of the labels' own logits; sums of exponentials are turned around, into factors."""
    for i in range(len(own)):
        logarithms[i] = log_of_normal(total[i])
        own[i] = (own[i] - highest[i]) - logarithms[i]
        total[i] = ONE / total[i]


@njit(nogil=True, cache=True)
def _sum_log_probs(tile, spread, highest, logarithms, summed):
    count = len(summed)
    summed[:] = ZERO
    for k in range(len(spread)):
        _add_log_probs(tile[k * count : (k + 1) * count], spread[k], highest, logarithms, summed)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_log_probs(line, factor, highest, logarithms, summed):
    for i in range(len(line)):
        summed[i] += factor * ((line[i] - highest[i]) - logarithms[i])


@njit(nogil=True, cache=True)
def _weigh(pulls, evenly, mass, factors, common):
    """What exponentials are multiplied with."""
    for i in range(len(pulls)):
        common[i] = -(pulls[i] + mass * evenly[i]) * factors[i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_line(logits, highest, common, own, grad):
    labels, label, pulls = own
    for i in range(len(grad)):
        pull = pulls[i] if labels[i] == label else ZERO
        grad[i] = pull + common[i] * exp_of_negative(logits[i] - highest[i])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_line(evenly, factor, grad):
    for i in range(len(grad)):
        grad[i] += evenly[i] * factor
