"""From tables, figures and executed notebooks to pages, a paper and citations."""
