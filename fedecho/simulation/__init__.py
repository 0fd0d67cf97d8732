"""The simulated clients: data partitions, delays, and the schedule of arrivals; no torch."""
