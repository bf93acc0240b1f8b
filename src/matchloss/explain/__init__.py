"""Who was matched to what, and why: tables in print and tensors for a picture."""

# Dense detection
from .assignment import Explanation as Explanation, explain_assignment as explain_assignment

# Set prediction
from .matching import MatchingExplanation as MatchingExplanation, explain_matching as explain_matching
