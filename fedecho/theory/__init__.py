"""Does the rate O(1/sqrt(TM)) hold, where does it stop, and would the check notice?

The library's own schedule and methods, played on objectives whose gradients are known exactly, many walks at a time.
Read `objectives` (what is minimised), `arrivals` (who reports when), `play` (the walk itself), `fits` (the rule that a
rate passes or fails), `runs` (what a notebook compares); `bound` evaluates the theorem's right-hand side.
"""
