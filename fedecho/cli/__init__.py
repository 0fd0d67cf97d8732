"""The `fedecho` command: a file per group of commands, `main` parses."""
