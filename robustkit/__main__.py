"""`python -m robustkit`, the same as `robustkit`."""

from robustkit.cli import main

if __name__ == "__main__":
    main()
