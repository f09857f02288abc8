"""One call of a component: a question in; chunks, and a reply, out. Neither Ray nor sockets are known here."""
