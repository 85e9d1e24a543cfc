"""`python -m lingen_cli` is `lingen`."""

from lingen_cli.app import main

if __name__ == "__main__":
    main()
