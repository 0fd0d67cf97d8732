"""The theory tables: rates, controls, terms of the bound, arrivals, methods, teachers."""
