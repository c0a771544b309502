"""What a plugin author imports: the seams of the core, and what passes through them."""
