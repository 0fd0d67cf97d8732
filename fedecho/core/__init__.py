"""What everything rests on: checked configs, records, files, random streams, statistics."""
