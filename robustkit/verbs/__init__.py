"""The verbs of the command line, one module each; none is imported before it is called."""
