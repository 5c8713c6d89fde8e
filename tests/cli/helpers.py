"""What tests look up in a sandbox, and how they start processes."""

import os


def secrets_of(sandbox):
    """Every secret that a sandbox holds now."""
    state = sandbox.state
    found = {user.password for user in state.users.values()}
    found |= {token.token for token in state.access_tokens.values()}
    found |= {session.token for session in state.sessions.values()}
    found |= {bearer.token for bearer in state.bearers.values()}
    found |= {client.client_secret for client in state.api_clients.values()}
    for account in state.accounts.values():
        for name, value in account.configuration.items():
            if name in ("credentials", "password", "domoAccessToken", "accessToken", "apikey") and value:
                found.add(value)
    return found


def changing(sandbox):
    """The requests that changed something, or might have: all but GET, sign-in and searches."""
    harmless = ("/api/content/v2/authentication", "/api/identity/v1/users/search", "/api/search/v1/query")
    return [record for record in sandbox.requests if record.method != "GET" and record.path not in harmless]


def buffered():
    """The environment for a process that holds back what it writes to a pipe, as is usual."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
