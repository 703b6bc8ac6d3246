"""{{summary}}"""

from flowrun_plugin import BadInput


def run(config, task):
    """Does the step: `config` is its `with`, checked against plugin.yaml; returns its values."""
    with open(task.input("names"), encoding="utf-8") as file:
        names = [line.strip() for line in file if line.strip()]
    if not names:
        raise BadInput("no names in the file")
    greeting = config.get("greeting", "hello")
    with open(task.output("greetings"), "w", encoding="utf-8") as file:
        file.writelines(f"{greeting} {name}\n" for name in names)
    task.info(f"{len(names)} greeted")
    return {"count": len(names)}
