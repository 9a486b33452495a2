"""Conducts runs: claim, stage, execute, record."""
