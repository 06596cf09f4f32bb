"""Durable store-and-forward: an append-only journal with CRC-framed records."""

from streaming.spool.entry import Entry
from streaming.spool.journal import Journal, SpoolFullError

__all__ = ["Entry", "Journal", "SpoolFullError"]
