"""The Django project: settings, addresses, broker, console."""
