"""The load tool, and the peers anabranch is measured beside: `python -m bench` prints one table."""
