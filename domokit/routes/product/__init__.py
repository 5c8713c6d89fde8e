"""https://{instance}.domo.com/api/…, signed by SessionAuth or AccessTokenAuth; one module per area."""
