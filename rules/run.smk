"""What the terminal says of a run besides its jobs' own lines.

Which settings have changed since the results were made, once per run; how long the rest takes, after each job and at
least every ten minutes; and at the end what came out, or what stopped it.
"""

import time

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent
from vqaflow.config.named_values import changed_keys
from vqaflow.runtime.run_watch import HOURS_LEFT, RunWatch
from vqaflow.runtime.run_folder import bring_to_present, require_room
from vqaflow.runtime.stage import FILE_ERRORS, RUN_STARTED, file_problem

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
    """By job: its rule, and, of long jobs, its name in the plan, which does not know searches; "" of others."""
    names = {"train_adapter": "{member} {fold}", "score_choices": "{member} {fold} {split} {view}"}
    names["run_trials"] = "search {member} {worker}"
    found = {}
    for job in workflow.dag.needrun_jobs():
        # In a workflow that uses this one as a module, rules may have a prefix.
        name = next((text for own, text in names.items() if job.rule.name.endswith(own)), "")
        found[workflow.dag.jobid(job)] = (job.rule.name, name.format(**job.wildcards_dict))
    return found


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

    print("", *error_lines(Path("results/logs"), STARTED), sep="\n", file=sys.stderr)


def print_result():
    """Say what came out, below Snakemake's own last lines."""
    from vqaflow.reporting.closing_line import closing_line  # a dry run need not load its statistics

    print(closing_line(Path("results"), STARTED))


def prepare_folder():
    """End with one message if nothing can be written, or if a file of the user is from the future."""
    inputs = (Path(path) for job in workflow.dag.needrun_jobs(exclude_finished=False) for path in job.input)
    try:
        require_room(Path("results"))
        bring_to_present(inputs, Path("results"))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        raise SystemExit(f"error: {file_problem(error)}") from None


if workflow.is_main_process:
    os.environ[RUN_STARTED] = str(STARTED)
    os.environ[HOURS_LEFT] = str(Path("results/logs/hours_left.txt").absolute())
    logger.addHandler(Teller(jobs_to_run, config, print_progress))
