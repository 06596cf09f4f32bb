"""The aggregates of the readings, in the asset graph."""
