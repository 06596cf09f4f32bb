"""What a connection and a tag address look like in each protocol: shared by the fleet file and the adapters."""
