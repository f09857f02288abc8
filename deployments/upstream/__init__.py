"""What HTTP components share: a Request goes out, the answer comes back as chunks. Only replicas import aiohttp."""
