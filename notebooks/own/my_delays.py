"""Delays: a function of the client and of a random stream that is its own, in virtual seconds."""


def commuters(client, rng):
    """Every third client is on the road: most of its jobs are quick, one in four waits for the next station."""
    waits = client % 3 == 0 and rng.random() < 0.25
    return rng.uniform(20, 40) if waits else rng.uniform(1, 3)
