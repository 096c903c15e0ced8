"""README.md of each Terraform module, in terraform-docs' layout: `python tests/rehearse/modules.py` writes them."""

import re
from pathlib import Path

MODULES = Path(__file__).resolve().parents[2] / "terraform" / "modules"
PROMISES = {
    "s3": "Buckets of the lake's zones: closed, versioned, encrypted, with a life for each kind of object.",
    "iam": "All roles and policies: one role for each job, for the state machine, the schedules, the optimizers and the "
    "deployment; bucket, key, topic and queue policies; a policy for readers.",
    "glue": "The three jobs, their secret and logs, the catalog over the lake with its optimizers, and Athena's workgroup.",
    "stepfunctions": "The state machine: check, then extract and promote for each lane.",
    "eventbridge": "Schedules, the queue of what was not delivered, and the rule on failed jobs.",
    "monitoring": "Metrics from the jobs' lines, alarms, dashboard, topic, budget.",
}


def blocks(text: str, kind: str) -> list[tuple[str, str]]:
    "Name and body of each variable or output, by name."
    return sorted(re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', text, re.M | re.S))


def described(body: str) -> str:
    found = re.search(r'description\s*= "(.*)"', body)
    return found[1].replace("|", "\\|") if found else ""


def inputs(text: str) -> list[str]:
    rows = []
    for name, body in blocks(text, "variable"):
        kind = re.search(r"^  type\s*=\s*(.*?)(?=\n+  \w|\Z)", body, re.M | re.S)
        default = re.search(r"^  default\s*=\s*(.*)$", body, re.M)
        meaning = re.sub(r"\s+", " ", kind[1]).strip() if kind else ""
        rows.append(
            f"| {name} | {described(body)} | `{meaning}` | {f'`{default[1]}`' if default else 'n/a'} | {'no' if default else 'yes'} |"
        )
    return rows


def written(name: str) -> str:
    "The text of a module's README."
    text = "\n".join(path.read_text() for path in sorted((MODULES / name).glob("*.tf")))
    kinds = [("resource", "resource"), ("data", "data source")]
    made = [
        f"| {a}.{b} | {meaning} |"
        for kind, meaning in kinds
        for a, b in sorted(set(re.findall(rf'^{kind} "(\w+)" "(\w+)"', text, re.M)))
    ]
    outputs = [f"| {one} | {described(body)} |" for one, body in blocks(text, "output")]
    parts = {
        "Requirements": ["| Name | Version |", "| --- | --- |", "| terraform | >= 1.11, < 2.0 |", "| aws | ~> 5.100 |"],
        "Resources": ["| Name | Type |", "| --- | --- |", *made],
        "Inputs": [
            "| Name | Description | Type | Default | Required |",
            "| --- | --- | --- | --- | :---: |",
            *inputs(text),
        ],
        "Outputs": ["| Name | Description |", "| --- | --- |", *outputs],
    }
    body = "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in parts.items())
    return f"# {name}\n\n{PROMISES[name]}\n\n{body}\n"


if __name__ == "__main__":
    for module in PROMISES:
        (MODULES / module / "README.md").write_text(written(module))
    print(f"{len(PROMISES)} modules")
