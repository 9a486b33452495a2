"""Long-lived loops that keep the installation true."""
