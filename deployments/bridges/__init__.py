"""Ways in that dial out: each keeps a connection to where questions come from, and answers through the gateway."""
