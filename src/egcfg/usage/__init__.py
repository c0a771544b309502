"""A model as one task uses it: what it can do, what its work may cost, and did."""
