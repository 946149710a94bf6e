"""Defenses: ways to make a model harder to fool, each measured by the same audit.

The folder lies at the top of the tree and imports as `robustkit.defenses`.
"""

if __name__ != "robustkit.defenses":
    raise ImportError(f"import robustkit.defenses, not {__name__}")
