"""How a model runs: each prefix once, a pass at a time, for several calls side by side."""
