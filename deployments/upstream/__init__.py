"""What HTTP components share: a Request goes out, the answer comes back as chunks. Replicas alone import aiohttp and h2."""
