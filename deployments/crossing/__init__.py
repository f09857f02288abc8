"""One call from replica to replica: question, reply, and the streams that go with it. Its faces are `deployments.handles` and `deployments.worker`."""
