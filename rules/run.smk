"""What the terminal says of a run besides its jobs' own lines.

Which settings have changed since the results were made, once per run; how long the rest takes, after each job and at
least every ten minutes; and at the end what came out, or what stopped it.
"""

import time

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent
from vqaflow.config.named_values import changed_keys
from vqaflow.runtime.gpu_lease import visible_devices
from vqaflow.runtime.process_start import CORES
from vqaflow.runtime.run_watch import HOURS_LEFT, RunWatch
from vqaflow.runtime.output_records import LOGS, results_of
from vqaflow.runtime.run_folder import bring_to_present, require_room, write_problem
from vqaflow.runtime.stage import FILE_ERRORS, RUN_STARTED, file_problem
from vqaflow.scoring.others import note_scorings

STARTED = time.time()


def print_changes():
    """Name the settings, and the code, that have changed since the results were made, with the rules that run for it."""
    rules_of = {}
    for job in workflow.dag.needrun_jobs(exclude_finished=False):
        change = workflow.dag.reason(job).params_changed
        for key in changed_keys(change.only_old, change.only_new):
            rules_of.setdefault(key, set()).add(job.rule.name)
    told = [f"  {key} ({', '.join(sorted(rules))})" for key, rules in sorted(rules_of.items())]
    if told:
        print("vqaflow: changed since the results were made:", *told, sep="\n", file=sys.stderr)


def jobs_to_run():
    """By job: its rule and, of long jobs, its results folder and its name in the plan, which does not know searches."""
    return {workflow.dag.jobid(job): (job.rule.name, name_in_plan(job)) for job in workflow.dag.needrun_jobs()}


def results_folder_of(job):
    """The results folder that a job writes to; None if it is not a job of this workflow."""
    return results_of(Path(job.log[0])) if job.log else None


def name_in_plan(job):
    """The name of a long job as `RunWatch` knows it; "" of others. The name of its rule is the caller's to choose."""
    names = {"train_adapter": "{member} {fold}", "score_choices": "{member} {fold} {split} {view}"}
    names["run_trials"] = "search {member} {worker}"
    results = results_folder_of(job)
    if str(results) not in listener().plans:  # a job of the workflow that uses this one
        return ""
    own_rule = Path(job.log[0]).relative_to(results / LOGS).parts[0]
    return f"{results}:{names[own_rule].format(**job.wildcards_dict)}" if own_rule in names else ""


class Teller(RunWatch):
    """Listens to Snakemake's logger; a dry run ends with what has changed."""

    def note(self, record):
        """Say what has changed before the first job, and give Snakemake's lines the time that is left."""
        if getattr(record, "event", None) == LogEvent.JOB_STARTED and self.run is None:
            print_changes()
            for handler in logger.handlers:
                if hasattr(handler.formatter, "format_progress"):
                    self.extend(handler)
        super().note(record)

    def extend(self, handler):
        """Have a handler's lines on progress tell the time that is left; on a terminal, in place of a job's bar."""
        plain = handler.formatter.format_progress
        start = "\r\x1b[K" if getattr(handler, "is_tty", False) else ""
        handler.formatter.format_progress = lambda record: start + self.line(plain(record))

    def close(self):
        """Say after a dry run what has changed, below the list of jobs."""
        if workflow.dryrun and workflow.dag is not None and not self.ended.is_set():
            print_changes()
        super().close()


def print_progress():
    """Have Snakemake say how far it is."""
    workflow.scheduler.progress()


def print_errors():
    """Repeat what stopped the run, below Snakemake's last lines: the messages of the stages, or where to find them."""
    from vqaflow.reporting.closing_line import error_lines

    print("", *error_lines(RESULTS.folder / "logs", STARTED), sep="\n", file=sys.stderr)


def print_result():
    """Say what came out, below Snakemake's own last lines."""
    from vqaflow.reporting.closing_line import closing_line  # a dry run need not load its statistics

    print(closing_line(RESULTS.folder, STARTED))


def scorings_to_run():
    """Member, split, fold and view of each scoring of this run."""
    jobs = (job for job in workflow.dag.needrun_jobs() if results_folder_of(job) == RESULTS.folder)
    logs = RESULTS.folder / LOGS / "score_choices"  # a module's rule has the name that its user gives it
    mine = (job.wildcards_dict for job in jobs if Path(job.log[0]).is_relative_to(logs))
    return [{name: known[name] for name in ("member", "split", "fold", "view")} for known in mine]


def share_of_cores():
    """How many cores a job may use: those of the run, or its part of them if all jobs that use a GPU run at once."""
    limits = [workflow.global_resources.get(name) for name in ("_cores", "gpu")]
    cores, gpus = (getattr(limit, "value", limit) for limit in limits)
    return max(1, cores // max(1, gpus or len(visible_devices()))) if isinstance(cores, int) else ""


def prepare_folder():
    """End with one message if nothing can be written, or if a file of the user is from the future."""
    jobs = [
        job for job in workflow.dag.needrun_jobs(exclude_finished=False) if results_folder_of(job) == RESULTS.folder
    ]
    inputs = (Path(path) for job in jobs for path in job.input)
    try:
        require_room(RESULTS.folder)
        bring_to_present(inputs, RESULTS.folder)
        note_scorings(RESULTS.to_score, scorings_to_run())
        os.environ[CORES] = str(share_of_cores())
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        raise SystemExit(f"error: {file_problem(error)}") from None


def name_cause(record):
    """A filter of Snakemake's log: in place of "Write-protected output files", the reason and the cure."""
    if getattr(record, "exception", None) == "ProtectedOutputException":
        lines = record.getMessage().partition("affected files:")[2].splitlines()
        problem = write_problem([Path(line.strip()) for line in lines if line.strip()], map(Path, listener().plans))
        record.msg = f"error: {problem}" if problem else record.msg
    return True


def watch_run():
    """Listen to this run, once for all modules that are this workflow."""
    if listener() is None:
        os.environ[RUN_STARTED] = str(STARTED)
        os.environ[HOURS_LEFT] = str((RESULTS.folder / "logs/hours_left.txt").absolute())
        logger.addHandler(Teller(jobs_to_run, {}, print_progress))
        logger.addFilter(name_cause)
    listener().plans[str(RESULTS.folder)] = config


def listener():
    """What listens to this run; None before the first module."""
    return next((handler for handler in logger.handlers if isinstance(handler, RunWatch)), None)


if workflow.is_main_process:
    watch_run()
