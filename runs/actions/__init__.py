"""Everything the product can do, as plain functions."""
