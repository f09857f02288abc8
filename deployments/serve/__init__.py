"""All that imports Ray: the deployments, their handles and options, and the command that serves a document."""
