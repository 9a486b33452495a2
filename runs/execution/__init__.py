"""Runs one program in one directory; knows nothing of the product."""
