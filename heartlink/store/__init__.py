"""Storage: one small backend interface, two databases, and the repositories written once on top (DESIGN 7)."""
