"""Speed and memory against bare httpx and pydomo: `python -m tests.benchmarks`."""
