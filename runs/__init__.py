"""The one Django app of Runsite: everything between a submitted run and its result."""
