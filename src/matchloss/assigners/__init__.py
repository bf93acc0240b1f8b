"""Matching: (predictions, Targets) -> Assignment, one file an assigner."""
