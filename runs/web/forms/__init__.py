"""What the forms of the pages take."""
