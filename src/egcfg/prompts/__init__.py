"""The built-in prompt builders, all in our own words."""
