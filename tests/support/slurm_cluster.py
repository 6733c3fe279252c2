"""A SLURM cluster of one machine: munged, slurmctld and slurmd from Debian's packages, in a folder of their own.

Needs root, as slurmd does, and a machine without a SLURM of its own: jobs find theirs by /etc/slurm/slurm.conf alone,
which is a link into the folder meanwhile. Nothing else outside it is changed.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SYSTEM_CONF = Path("/etc/slurm/slurm.conf")  # Snakemake clears SLURM_CONF from its jobs' environment
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
CONF = """\
ClusterName=vqaflow_test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} Gres=gpu:2
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def can_start() -> bool:
    """Whether the programs are there, we are root, and no SLURM is set up here but what a killed test has left."""
    others = SYSTEM_CONF.exists() and not SYSTEM_CONF.read_text().startswith(CONF.splitlines()[0])
    return os.geteuid() == 0 and all(map(shutil.which, PROGRAMS)) and not others


def free_ports() -> list[int]:
    """Two ports that nobody listens on."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
    """Return when `ready` says so; an AssertionError names what did not come."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} did not come within {seconds} s"
        time.sleep(0.2)


class Cluster:
    """The three daemons, as children of this process; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.daemons = folder, []
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "state").mkdir(parents=True)
        (folder / "spool").mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o400)
        megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        values = {"host": socket.gethostname().split(".")[0], "ports": free_ports(), "folder": folder}
        text = CONF.format(**values, cpus=os.cpu_count(), megabytes=megabytes)
        (folder / "slurm.conf").write_text(text)
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")  # two to hand out

    def __enter__(self) -> "Cluster":
        try:
            self.start_all()
        except BaseException:
            self.stop_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run("scancel", "--user=root")
        self.stop_all()

    def start_all(self) -> None:
        """Start the daemons and wait for the node."""
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.unlink(missing_ok=True)
        SYSTEM_CONF.symlink_to(self.folder / "slurm.conf")
        munge = [f"--{name}={self.folder}/munge.{name.split('-')[0]}" for name in ("key-file", "pid-file", "log-file")]
        self.start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *munge)
        wait_for("munged's socket", (self.folder / "munge.socket").exists)
        self.start("slurmctld", "-D", "-c")
        self.start("slurmd", "-D")
        wait_for("an idle node", lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T"))

    def stop_all(self) -> None:
        """End the daemons, the last one first."""
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=60)
        SYSTEM_CONF.unlink(missing_ok=True)

    def start(self, *command: str) -> None:
        """Start a daemon that stays our child."""
        with (self.folder / f"{command[0]}.out").open("w") as out:
            environment = os.environ | self.environment
            self.daemons.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment))

    def run(self, *command: str) -> str:
        """What one of SLURM's commands prints."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """The finished jobs by the job-completion log, one mapping per job."""
        log = self.folder / "jobs.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in lines]
