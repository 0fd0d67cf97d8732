"""`python -m fedecho.cli`: the same as `fedecho`."""

from fedecho.cli.main import main

if __name__ == "__main__":
    main()
