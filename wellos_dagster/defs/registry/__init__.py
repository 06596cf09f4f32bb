"""The registry in the asset graph."""
