"""Decoding of predictions, and non-maximum suppression."""
