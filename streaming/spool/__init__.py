"""Durable store-and-forward: an append-only journal with CRC-framed records."""

from streaming.spool.entry import Entry, decode_extras
from streaming.spool.journal import Journal, SpoolFullError
from streaming.spool.reader import Item, Lost

__all__ = ["Entry", "Item", "Journal", "Lost", "SpoolFullError", "decode_extras"]
