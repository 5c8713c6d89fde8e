"""`python -m domokit`: the same as the command `domokit`."""

from domokit.cli import main

if __name__ == "__main__":
    main()
