"""Reports: one HTML file that needs nothing but a browser. Reads results, measures nothing."""
