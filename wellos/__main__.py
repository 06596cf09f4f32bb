"""`python -m wellos` is the `wellos` command."""

from wellos.cli import main

if __name__ == "__main__":
    main()
