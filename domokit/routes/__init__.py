"""One small function per endpoint: JSON in, JSON out. `product` and `platform` are Domo's two API families."""
