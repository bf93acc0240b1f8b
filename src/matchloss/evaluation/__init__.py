"""Evaluation protocols that no library has."""
