"""The run list: filter, sort, pages by cursor."""
