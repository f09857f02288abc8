"""One conversation between every vendor's API and the runs: a typed request in, typed pieces of the answer out."""
