"""HTTP/2 by h2, for the servers that offer it. Only `origins` is used from outside."""
