"""Components in this process: an Invoke without handles and without a channel."""
