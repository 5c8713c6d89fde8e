"""https://api.domo.com/v1/…, signed by OAuthClientAuth; one module per area."""
