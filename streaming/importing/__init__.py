"""Brings the past of another system in from files, through the checks, ledger and quarantine of live readings."""
