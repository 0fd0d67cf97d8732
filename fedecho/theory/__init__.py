"""Does the rate O(1/sqrt(TM)) hold, where does it stop, and would the check notice?

The library's own schedule and methods, simulated on objectives whose gradients are known exactly, many trajectories at
a time. Read `objectives` and `softmax` (what is minimised), `arrivals` (who reports when), `config` (what a run is),
`simulate` (the trajectories), `engine` (from a run to its record), `fits` (the rule that a rate passes or fails);
`bound` evaluates the theorem's right-hand side. What the tables compare is in `studies.theory`.
"""
