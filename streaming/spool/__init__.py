"""Durable store-and-forward: an append-only journal with CRC-framed records."""
