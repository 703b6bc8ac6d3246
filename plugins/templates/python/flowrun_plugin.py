"""What a flowrun plugin in Python needs: the task it is given, and the ways to say what is wrong.

Part of your plugin: it runs inside the component, and under an ordinary Python in your own tests.
"""

import json
import os
import sys


class BadConfig(Exception):
    """The step's `with` is wrong at `path`, such as `size.width`; empty for the whole. The pipeline's author must act."""

    def __init__(self, path, message):
        super().__init__(f"with.{path}: {message}" if path else message)
        self.path, self.message = path, message


class BadInput(Exception):
    """The data are wrong. Whoever made them must act."""


class Task:
    """One step to run: where its inputs lie, where its outputs go, and whom to tell."""

    def __init__(self, inputs, outputs, part=None, host=None):
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self.part = part  # (index, count) where the step is sharded, else None
        self._host = host

    def input(self, name):
        """The path of an input: an existing file or folder."""
        if name not in self.inputs:
            raise BadConfig("", f"the step needs an input `{name}`: name it under `inputs`")
        return self.inputs[name]

    def output(self, name):
        """The path of an output: the file to write, or the existing, empty folder to fill."""
        if name not in self.outputs:
            raise BadConfig("", f"the step needs an output `{name}`: name it under `outputs`")
        return self.outputs[name]

    def files(self, name):
        """The paths of all files below an input folder, sorted, relative to it."""
        root, found = self.input(name), []
        for folder, _, names in os.walk(root):
            found += [os.path.relpath(os.path.join(folder, one), root) for one in names]
        return sorted(found)

    def _say(self, level, text):
        if self._host:
            self._host.log(level, str(text))
        else:
            print(f"{level}: {text}", file=sys.stderr)

    def debug(self, text):
        """A line of log for those who look for a fault."""
        self._say("debug", text)

    def info(self, text):
        """A line of log."""
        self._say("info", text)

    def warn(self, text):
        """Something is odd, and the step goes on."""
        self._say("warn", text)

    def progress(self, done, total, what=""):
        """How far the step is: `done` of `total` (0 where it is not known), and of what."""
        if self._host:
            self._host.progress(done, total, what)

    def metric(self, name, value, step=None):
        """A figure, with the epoch or iteration that it belongs to."""
        if self._host:
            self._host.metric(name, float(value), step)


def values(made):
    """What `run` returned, as the JSON object that the runner wants."""
    made = {} if made is None else made
    if not isinstance(made, dict):
        raise TypeError(f"`run` must return a dict of values, not {type(made).__name__}")
    return json.dumps(made, allow_nan=False)
