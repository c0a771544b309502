"""From what the option ``model`` names to a model and its tokenizer in memory."""
