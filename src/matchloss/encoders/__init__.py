"""Annotations -> dense target maps, one file an encoder."""

# Scene text
from .east import EASTTargetEncoder as EASTTargetEncoder
from .db import DBTargetEncoder as DBTargetEncoder
