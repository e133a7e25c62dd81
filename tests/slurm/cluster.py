"""A real SLURM on loopback: munged, slurmctld and slurmd, with pretend GPUs and no accounting."""

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
INSTALL = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
# SLURM_CONF would not do: the executor plugin drops every SLURM_* variable inside a job.
CONFIG = Path("/etc/slurm")
SOCKET = Path("/run/munge/munge.socket.2")
FILES = ("slurm.conf", "gres.conf")

SLURM_CONF = """\
# Written by vramlab's tests.
ClusterName=vramlab
SlurmctldHost=localhost
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
# A container may forbid cgroups: memory is then limited by polling.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
KillWait=15
MinJobAge=300
GresTypes=gpu
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=localhost NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:a100:2,gpu:t4:1
PartitionName=ci Nodes=localhost Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE
PartitionName=hi Nodes=localhost MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""

GRES_CONF = """\
# Written by vramlab's tests.
AutoDetect=off
NodeName=localhost Name=gpu Type=a100 File={folder}/gpu[0-1]
NodeName=localhost Name=gpu Type=t4 File={folder}/gpu2
"""


def _foreign(file: Path) -> bool:
    """Whether a configuration is there that no killed run of these tests left behind."""
    return file.exists() and not file.read_text().startswith("# Written by vramlab's tests.")


def unavailable() -> str | None:
    """Why a SLURM cannot be started here, or None."""
    if os.geteuid() != 0:
        return "starting a SLURM of its own needs root"
    if missing := [name for name in NEEDED if not _which(name)]:
        return f"no {', '.join(missing)}: {INSTALL}"
    if any(_foreign(CONFIG / name) for name in FILES):
        return f"{CONFIG} has a configuration already: this machine belongs to a SLURM"
    if SOCKET.exists() and _listens(SOCKET):
        return f"another munged answers at {SOCKET}"
    return None


def wait_for(what: str, seconds: float, condition: Callable[[], object]) -> object:
    """Poll until the condition is true and return its value; fail after some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s")


@dataclass
class Cluster:
    """One node with GPUs a100, a100 and t4; jobs in `hi` preempt those in `ci`."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        for number in range(3):
            # Without a device file SLURM sets no CUDA_VISIBLE_DEVICES: these are /dev/null.
            os.mknod(self.folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        CONFIG.mkdir(exist_ok=True)
        for name, text in zip(FILES, (SLURM_CONF, GRES_CONF), strict=True):
            (self.folder / name).write_text(text.format(folder=self.folder))
            (CONFIG / name).unlink(missing_ok=True)
            (CONFIG / name).symlink_to(self.folder / name)
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        munged = ["munged", "-F", "--force", f"--socket={SOCKET}", f"--key-file={key}"]
        munged += [
            f"--{option}={self.folder / name}"
            for option, name in {
                "pid-file": "munged.pid",
                "log-file": "munged.log",
                "seed-file": "munged.seed",
            }.items()
        ]
        self._spawn("munged", *munged)
        wait_for("munged", 10, SOCKET.exists)
        self.start_controller()
        self._spawn("slurmd", "slurmd", "-D", "-N", "localhost")
        wait_for(f"SLURM, see {self.folder}", 30, lambda: self.ask("sinfo", "-ho", "%T") == "idle")

    def start_controller(self) -> None:
        self._spawn("slurmctld", "slurmctld", "-D")

    def stop_controller(self) -> None:
        self._end("slurmctld")

    def stop(self) -> None:
        if "slurmctld" in self.daemons:
            self.ask("scancel", "--state=PENDING,RUNNING")
        for name in reversed(tuple(self.daemons)):
            self._end(name)
        for name in FILES:
            if (CONFIG / name).is_symlink():
                (CONFIG / name).unlink()

    def ask(self, *command: str) -> str:
        """What a SLURM command prints; empty where it fails."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def jobs(self, *states: str) -> dict[str, str]:
        """The ids of the jobs in any of the states (default: not ended), and their comments."""
        wanted = ",".join(states) or "PENDING,CONFIGURING,RUNNING,COMPLETING,SUSPENDED"
        lines = self.ask("squeue", "-ho", "%i|%k", f"--states={wanted}").splitlines()
        return dict(line.split("|", 1) for line in lines)

    def show(self, job: str) -> dict[str, str]:
        """The fields of a job as `scontrol show job` gives them."""
        words = self.ask("scontrol", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def release(self, job: str) -> None:
        """Let a job that was requeued start at once; SLURM would hold it back for two minutes."""
        wait_for(f"job {job} to be pending", 60, lambda: self.show(job)["JobState"] == "PENDING")
        wait_for(
            f"job {job} to start again",
            60,
            lambda: (
                self.ask("scontrol", "update", f"jobid={job}", "StartTime=now")
                or self.show(job)["JobState"] == "RUNNING"
            ),
        )

    def _spawn(self, name: str, *command: str) -> None:
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
        with (self.folder / f"{name}.out").open("a") as output:
            self.daemons[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "PATH": path},
            )

    def _end(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))


def _listens(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
