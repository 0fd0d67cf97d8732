"""Streams depend on role, seed and identity, and on nothing else."""

from fedecho.core.rng import seed_sequence, stream, torch_seed


def first(seed: int, role: str, *identity: int) -> int:
    return int(stream(seed, role, *identity).integers(0, 2**62))


def test_same_name_same_stream() -> None:
    assert first(3, "batches", 1, 2) == first(3, "batches", 1, 2)


def test_names_seeds_and_identities_all_matter() -> None:
    names = [
        (0, "batches", 1),
        (1, "batches", 0),
        (0, "batches", 0),
        (0, "delays", 1),
        (0, "batches"),
        (0, "batches", 1, 0),
    ]
    assert len({first(seed, role, *identity) for seed, role, *identity in names}) == len(names)


def test_seed_plus_client_does_not_collide() -> None:
    assert first(42, "batches", 1) != first(43, "batches", 0)


def test_other_streams_do_not_move_a_stream() -> None:
    before = first(0, "partition")
    stream(0, "selection").random(1000)
    assert first(0, "partition") == before


def test_torch_seed_fits_and_differs() -> None:
    assert 0 <= torch_seed(0, "initial-weights") < 2**63
    assert torch_seed(0, "initial-weights") != torch_seed(1, "initial-weights")
    assert seed_sequence(0, "a").spawn_key != seed_sequence(0, "b").spawn_key
