"""A Redis for the tests of this directory."""

from tests.redis_server import redis_server, redis_url

__all__ = ["redis_server", "redis_url"]
