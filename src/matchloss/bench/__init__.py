"""How fast, beside whom: every loss, assigner, criterion and encoder timed on one machine in one process.

`matchloss bench` runs it; :mod:`matchloss.bench.plans` says what is timed and what is aimed at.
"""
