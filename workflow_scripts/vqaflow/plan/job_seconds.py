"""The plan's seconds of each training and scoring, for a run that wants to know how long it still takes.

`python -m vqaflow.plan.job_seconds RESULTS` reads a checked configuration as JSON, whose results are in the folder
RESULTS, and writes the answer as JSON: a process of its own, because it loads torch.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import members_of, with_model
from vqaflow.config.sections import ModelConfig, section
from vqaflow.plan.cards import card_here, card_named
from vqaflow.plan.evening import Speed, jobs_of_run
from vqaflow.plan.member_plans import planned_data
from vqaflow.plan.offline import shape_of
from vqaflow.plan.rows import plan_rows
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import visible_devices

NOT_IN_DIGESTS = True  # a plan is not a result
POLITE = 10  # how far it stands back behind the jobs that compute


def job_seconds(config: Mapping[str, Any], results: ResultsFolder) -> dict[str, Any]:
    """`seconds` by the name of a job in the plan (evening.Job); on how many `cards`; `certain` if they are here.

    Without a GPU here, as where jobs are submitted to a cluster, the seconds are those of a T4: they can only be
    compared with each other. Raises UserError if the rows or a base are not known here.
    """
    members, card = with_model(members_of(config)), card_here()
    shapes = {member.name: shape_of(section(ModelConfig, member.model), None)[0] for member in members}
    data, _ = planned_data(config, plan_rows(config, None, False, results), None, results)
    speed = Speed.of(card or card_named("t4"))
    seconds = {job.name: job.seconds for job in jobs_of_run(members, shapes, data, speed)}
    return {"seconds": seconds, "certain": card is not None, "cards": len(visible_devices())}


if __name__ == "__main__":
    os.nice(POLITE)
    try:
        print(json.dumps(job_seconds(json.load(sys.stdin), ResultsFolder(Path(sys.argv[1])))))
    except UserError:  # as before the demo's tables are made: then jobs are only counted
        raise SystemExit(1) from None
