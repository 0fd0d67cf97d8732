"""`python -m fedecho.cli`: the same as `fedecho`."""

from fedecho.__main__ import main

if __name__ == "__main__":
    main()
