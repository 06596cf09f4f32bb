"""Archiving days of readings: locks, exports, proofs and receipts."""
