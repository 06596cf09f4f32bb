"""What each tier holds, what it costs, and whether every day is where it should be."""
