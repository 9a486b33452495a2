"""The HTTP API for the published client. Empty until its issue."""
