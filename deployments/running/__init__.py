"""One run under way: its jobs, their streams, and how they end. Its face is `deployments.runner`."""
