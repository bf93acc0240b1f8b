"""Real trainings on real data, built on the public parts of matchloss."""
