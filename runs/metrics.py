"""Figures about the installation for monitoring. Empty until its issue."""
