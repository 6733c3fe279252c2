"""The actions of a crate: the run as a whole, each job in it, and the engine that ordered them.

Provenance Run Crate: the workflow is a HowTo whose steps are rules; a ControlAction says which step a job carried out.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Protocol

from vqaflow.provenance.entities import Graph, moment, path_id, ref, refs, software
from vqaflow.provenance.history import RESULTS, Job
from vqaflow.provenance.workflow_files import LANGUAGE, PACKAGE, SETTINGS, SNAKEFILE, WORKFLOW

RUN, ORGANIZE = "#run", "#organize"
DONE = "http://schema.org/CompletedActionStatus"
# What users ask a run for.
PRODUCTS = ("submission.csv", "submission.validated.json", "evaluation/metrics.json", "eda/summary.json")


class Files(Protocol):
    """What actions need of a crate: its graph, and the @id of each file by its path in the run's folder."""

    graph: Graph
    ids: dict[str, str]


def add_actions(crate: Files, jobs: list[Job], versions: Mapping[str, str]) -> None:
    """Add the workflow, its tools and steps, and an action per job."""
    graph = crate.graph
    written = {f"{RESULTS}/{name}" for job in jobs for name in job.outputs}
    given = {path: crate.ids[path] for job in jobs for path in job.inputs if path not in written}
    made = {path: crate.ids[path] for name in PRODUCTS if (path := f"{RESULTS}/{name}") in written}
    given[SETTINGS] = path_id(SETTINGS)
    code = add_code(graph, versions)
    rules = list(dict.fromkeys(job.rule for job in jobs))
    tools = {rule: add_tool(graph, rule, code) for rule in rules}
    steps = {rule: add_step(graph, rule, place, tools[rule]) for place, rule in enumerate(rules)}
    add_main(graph, tools, steps, parameters(graph, "input", given), parameters(graph, "output", made))
    orders = [add_job(crate, job, tools[job.rule], steps[job.rule]) for job in jobs]
    times = {"startTime": moment(min(job.began for job in jobs)), "endTime": moment(max(job.ended for job in jobs))}
    run = {"@id": RUN, "@type": "CreateAction", "name": "The run of the workflow", "instrument": ref(SNAKEFILE)}
    run |= {"description": f"{len(jobs)} jobs of {len(rules)} rules", "actionStatus": DONE}
    graph.add(run | times | {"object": refs(given.values()), "result": refs(made.values())})
    engine = software(graph, "snakemake", version("snakemake"))
    organize = {"@id": ORGANIZE, "@type": "OrganizeAction", "name": "Snakemake ran the jobs", "instrument": engine}
    organize |= {"description": "Orders the jobs by what they read and write", "actionStatus": DONE}
    graph.add(organize | times | {"object": refs(orders), "result": ref(RUN)})


def add_code(graph: Graph, versions: Mapping[str, str]) -> dict[str, str]:
    """The package, with the versions of what it computed with."""
    needed = [software(graph, name, number)["@id"] for name, number in versions.items()]
    entity = {
        "@id": "#vqaflow",
        "@type": "SoftwareApplication",
        "name": "vqaflow",
        "softwareVersion": version("vqaflow"),
    }
    return graph.add(entity | {"softwareRequirements": refs(needed), "hasPart": ref(f"{WORKFLOW}/{PACKAGE}/")})


def add_tool(graph: Graph, rule: str, code: dict[str, str]) -> str:
    """The script of a rule, as the tool of its jobs."""
    name = path_id(f"{WORKFLOW}/workflow_scripts/{rule}.py")
    number = version("vqaflow")
    tool = {"@id": name, "@type": ["File", "SoftwareSourceCode", "SoftwareApplication"]}
    graph.add(tool | {"name": rule, "version": number, "softwareRequirements": code})
    return name


def add_step(graph: Graph, rule: str, place: int, tool: str) -> str:
    """A rule as a step of the workflow."""
    name = f"#step-{rule}"
    graph.add({"@id": name, "@type": "HowToStep", "name": rule, "position": str(place), "workExample": ref(tool)})
    return name


def parameters(graph: Graph, kind: str, files: Mapping[str, str]) -> list[dict[str, str]]:
    """The workflow's inputs or outputs, each with the file that it was in this run."""
    found = []
    for number, path in enumerate(sorted(files)):
        name, entity = f"#{kind}-{number}", graph.entities[files[path]]
        parameter = {"@id": name, "@type": "FormalParameter", "name": str(entity["name"]), "additionalType": "File"}
        profile = ref("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE")
        found.append(graph.add(parameter | {"workExample": ref(files[path]), "conformsTo": profile}))
        entity["exampleOfWork"] = ref(name)
    return found


def add_main(
    graph: Graph, tools: Mapping[str, str], steps: Mapping[str, str], given: list[Any], made: list[Any]
) -> None:
    """The Snakefile, as the workflow that the run is one of."""
    graph.add(
        {
            "@id": SNAKEFILE,
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": "vqaflow",
            "version": version("vqaflow"),
            "license": ref("https://spdx.org/licenses/Apache-2.0"),
            "programmingLanguage": ref(LANGUAGE),
            "conformsTo": ref("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
            "hasPart": refs(tools.values()),
            "step": refs(steps.values()),
            "input": given,
            "output": made,
        }
    )
    graph.add({"@id": "https://spdx.org/licenses/Apache-2.0", "@type": "CreativeWork", "name": "Apache-2.0"})


def add_job(crate: Files, job: Job, tool: str, step: str) -> str:
    """A job as an action, and the action that says which step it was; returns the latter's @id."""
    action, control = f"#job-{job.name}", f"#control-{job.name}"
    crate.graph.add(
        {
            "@id": action,
            "@type": "CreateAction",
            "name": job.name,
            "description": f"A job of the rule {job.rule}",
            "actionStatus": DONE,
            "instrument": ref(tool),
            "object": refs(crate.ids[path] for path in job.inputs),
            "result": refs(crate.ids[f"{RESULTS}/{name}"] for name in job.outputs),
            "startTime": moment(job.began),
            "endTime": moment(job.ended),
        }
    )
    crate.graph.add(
        {
            "@id": control,
            "@type": "ControlAction",
            "name": f"Ran {job.name}",
            "instrument": ref(step),
            "object": ref(action),
        }
    )
    return control
