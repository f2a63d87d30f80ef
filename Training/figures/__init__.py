"""The paper's figures by number, one file a family, from one evaluation (PROTOCOL section 1.2)."""
