"""Adversarial training: objectives are functions to `[B]`, and one loop minimises any of them."""
