import contextlib
import sys
from pathlib import Path

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


@contextlib.contextmanager
def one_sentence():
    """Say in one sentence what is wrong with a configuration, and end."""
    try:
        yield
    except ConfigError as error:
        sys.exit(f"vramlab: {error}")
