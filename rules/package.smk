import contextlib
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.shell import shell

RULES = workflow.current_basedir

# This checkout, even if another workflow imports this one as a module. The package is imported from
# it, so the code that runs is the code that the rules track.
CHECKOUT = Path(str(RULES)).parent
if not CHECKOUT.is_dir():
    sys.exit(
        f"vramlab: {RULES} is no folder of this machine; name the file workflow/Snakefile of the "
        "repository in the module statement, or clone it"
    )
SOURCE = str(CHECKOUT / "src")
sys.path.insert(0, SOURCE)

from vramlab.base.errors import ConfigError


@contextlib.contextmanager
def one_sentence():
    """Say in one sentence what is wrong with a configuration or an installation, and end."""
    try:
        yield
    except ConfigError as error:
        sys.exit(f"vramlab: {error}")
    except ModuleNotFoundError as error:
        sys.exit(
            f"vramlab: the package {error.name} is not installed where Snakemake runs "
            f"({sys.prefix}); install {CHECKOUT}/envs/cpu.txt or gpu.txt there with pip"
        )


def is_own_snakefile(path):
    """Whether a Snakefile is one of this checkout."""
    return Path(path) in {CHECKOUT / "Snakefile", CHECKOUT / "workflow" / "Snakefile"}


def is_own(job):
    """Whether a job is of this workflow, and not of one that uses it as a module."""
    return job.rule.basedir == RULES


with one_sentence():
    from vramlab.config.experiment import check_file
    from vramlab.stages.display import show_one_line
    from vramlab.stages.interrupt import stop_at_once, stop_with_the_job
    from vramlab.stages.prompt_end import end_promptly

# The terminal and the signals belong to the workflow that the user runs, which may be another.
DISPLAY = None
if not workflow.is_main_process:
    stop_with_the_job(JobScheduler)
elif is_own_snakefile(workflow.main_snakefile):
    stop = stop_at_once(shell, JobScheduler)
    end_promptly(JobScheduler)
    DISPLAY = show_one_line(logger, workflow.output_settings, stop)
