"""Reporting: plain scores, curves and images in; tables, plots and one HTML page out. Imports nothing else of ours."""
