"""Rows in and out: what users hold, to and from CSV parts on the wire, in memory bounded by the parts in flight."""
