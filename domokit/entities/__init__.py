"""The objects of a Domo instance: awaitable classmethods, attributes, tables in notebooks."""
