"""Annotations -> dense target maps, one file an encoder."""
