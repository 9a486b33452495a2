"""Messages to people about what happened. Empty until notifications have their issue."""
