"""Turns what a run declares into figures, maps and charts; fetches nothing."""
