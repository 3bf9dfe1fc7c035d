"""Figures and pages of runs and studies: one style, colour-blind safe, light and dark."""
