"""Who holds what and who arrives when: partitions, delays, the schedule; no torch."""
