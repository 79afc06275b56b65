"""The dashboard: three pages in a browser, over the REST interfaces only."""
