"""The HTTP API for programs: the words of the published client, and nothing that it would not know.

`v1/` has one router and one schema file for each noun; what is around them is here.
"""
