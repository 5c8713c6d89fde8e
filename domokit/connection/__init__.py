"""What lies between a request and its answer: options, pools, retries, limits, recording."""
