"""The one read across hot, warm and cold: typed results that say where they came from."""

from wellos.query.provenance import Part, Provenance, Result

__all__ = ["Part", "Provenance", "Result"]
