"""The rules of the product as plain Python: values in, values out."""
