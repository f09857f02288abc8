"""Chunks on a socket: frames, the two ends of a stream, connections. Its face is `deployments.channel`."""
