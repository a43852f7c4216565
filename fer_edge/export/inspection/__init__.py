"""What the layers of an artifact run in, and what each costs."""
