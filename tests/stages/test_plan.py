"""What `snakemake -n` prints."""

from vramlab.stages.plan import PlannedJob, plan

COUNTS = {"batch_size": 2, "tokenizer": 1, "page": 1}
JOBS = [
    PlannedJob(0, "page", "", "Write the report", "Missing output files"),
    PlannedJob(7, "batch_size", "flash 256", "Search flash", "Code has changed"),
    PlannedJob(3, "batch_size", "fp32 256", "Search fp32", "Params have changed"),
    PlannedJob(5, "tokenizer", "", "Make the tokenizer", "Missing output files"),
]


def test_the_rules_are_in_the_order_of_the_workflow_with_their_counts():
    assert plan(COUNTS, JOBS, reasons=False).splitlines() == [
        "4 jobs would run, in this order:",
        "    2  batch_size  fp32 256, flash 256",
        "    1  tokenizer   Make the tokenizer",
        "    1  page        Write the report",
    ]


def test_one_job_is_not_jobs():
    assert plan({"page": 1}, JOBS[:1], reasons=False).startswith("1 job would run")


def test_a_long_line_is_not_broken_within_the_name_of_a_job():
    lines = plan(COUNTS, JOBS, reasons=False, width=34).splitlines()
    assert lines[1:3] == ["    2  batch_size  fp32 256,", " " * 19 + "flash 256"]


def test_each_job_has_its_reason_where_that_is_wanted():
    assert plan(COUNTS, JOBS, reasons=True).splitlines()[1:4] == [
        "    2  batch_size",
        "       Search fp32: Params have changed",
        "       Search flash: Code has changed",
    ]


def test_the_counts_alone():
    assert plan(COUNTS, [], reasons=False).splitlines()[1:] == [
        "    2  batch_size",
        "    1  tokenizer",
        "    1  page",
    ]
