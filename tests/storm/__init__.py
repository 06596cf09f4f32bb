"""The seeded storm: a whole platform under faults for minutes, then every reading counted."""
