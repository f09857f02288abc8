"""The one way from every transport to the runs: admit, start, follow and stop them."""
