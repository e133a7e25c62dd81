import contextlib
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.shell import shell

# This checkout, even if another workflow imports this one as a module. The package is imported from
# it, so the code that runs is the code that the rules track.
CHECKOUT = Path(str(workflow.current_basedir)).parent
if not CHECKOUT.is_dir():
    sys.exit(
        f"vramlab: {workflow.current_basedir} is no folder of this machine; clone the repository, "
        "and name the Snakefile of the clone in the module statement"
    )
SOURCE = str(CHECKOUT / "src")
sys.path.insert(0, SOURCE)

from vramlab.base.errors import ConfigError
from vramlab.config.experiment import check_file
from vramlab.stages.display import show_one_line
from vramlab.stages.interrupt import stop_at_once, stop_with_the_job

# The terminal and the signals belong to the workflow that the user runs, which may be another.
if not workflow.is_main_process:
    stop_with_the_job(JobScheduler)
elif Path(workflow.main_snakefile) == CHECKOUT / "Snakefile":
    show_one_line(logger, workflow.output_settings, stop_at_once(shell, JobScheduler))


@contextlib.contextmanager
def one_sentence():
    """Say in one sentence what is wrong with a configuration, and end."""
    try:
        yield
    except ConfigError as error:
        sys.exit(f"vramlab: {error}")
