"""The paper's experiments as finished runs: their layout, their statistics, and the report made from them."""
