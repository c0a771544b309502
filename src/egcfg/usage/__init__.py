"""What a model's work may cost, and did."""
