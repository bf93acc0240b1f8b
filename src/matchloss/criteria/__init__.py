"""Complete training criteria: assigner + losses + one visible normaliser -> LossTerms."""
