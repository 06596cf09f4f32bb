"""What ingest stores and how it fares, in the asset graph."""
