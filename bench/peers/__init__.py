"""What anabranch is measured beside: the same stream of words, written as one would without it."""
