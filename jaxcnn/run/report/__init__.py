"""A page for a run: one self-contained HTML file."""
