"""Results of a made-up experiment that holds every case the report must cope with."""

import pytest
from report import made_up

SEVERAL = {
    "seeds": [9, 10],
    "measure": {"speed_points": 2, "longest_sequence": 1},
    "sweep": {"lengths": [512, 2048], "techniques": ["sdpa", "flash", "checkpointing"]},
}
FAILURES = {
    ("flash", "*"): ("skipped", made_up.NO_FLASH),
    ("math", "equal"): ("out_of_memory", made_up.NO_MEMORY),
    ("tf32", "own"): ("diverged", "the loss became NaN in step 3"),
}
NOTHING = {
    ("fp32", "*"): ("out_of_memory", "not even one sequence fits"),
    ("flash", "*"): ("skipped", made_up.NO_FLASH),
}
LONG = [*made_up.TECHNIQUES, *(f"another_long_technique_{i}" for i in range(6))]

CASES = {
    "nine techniques, two seeds, a sweep": (made_up.experiment(**SEVERAL), {"failures": FAILURES}),
    "two budgets": (
        made_up.experiment(["fp32", "bf16", "checkpointing", *made_up.BUDGETS]),
        {},
    ),
    "two techniques": (made_up.experiment(["fp32", "bf16"]), {"energy": False}),
    "fifteen techniques": (made_up.experiment(LONG), {}),
    "the baseline alone": (made_up.experiment(["fp32"]), {}),
    "nothing ran": (made_up.experiment(["fp32", "flash"]), {"failures": NOTHING}),
}


@pytest.fixture(scope="session", params=CASES)
def case(request, tmp_path_factory):
    """Configuration and results of one case."""
    config, options = CASES[request.param]
    folder = tmp_path_factory.mktemp("case")
    return config, made_up.make_results(folder, config, **options)


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """Nine techniques, two seeds, a sweep; one skipped, one out of memory, one diverged."""
    config, options = CASES["nine techniques, two seeds, a sweep"]
    return made_up.make_results(tmp_path_factory.mktemp("nine"), config, **options)


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """The baseline and one other technique, one seed."""
    config, options = CASES["two techniques"]
    return made_up.make_results(tmp_path_factory.mktemp("two"), config, **options)
