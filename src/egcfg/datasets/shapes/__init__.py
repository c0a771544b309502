"""The shapes that problem files have, a module per family, and the table that tells them apart."""
