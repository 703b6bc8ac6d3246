# What stands between the component's interface and the plugin's `run(config, task)`. Put in by `flowrun plugin build`.
import json
import traceback

from componentize_py_types import Err
from wit_world.imports import host, types

import flowrun_plugin
import plugin


class Host:
    def log(self, level, text):
        host.log(getattr(host.Level, level.upper()), text)

    progress = staticmethod(host.progress)
    metric = staticmethod(host.metric)


class WitWorld:
    def run(self, request):
        inputs = {place.name: place.path for place in request.inputs}
        outputs = {place.name: place.path for place in request.outputs}
        part = (request.part.index, request.part.count) if request.part else None
        task = flowrun_plugin.Task(inputs, outputs, part, Host())
        try:
            return flowrun_plugin.values(plugin.run(json.loads(request.config), task))
        except flowrun_plugin.BadConfig as error:
            raise Err(types.Failure_BadConfig(types.ConfigError(error.path, error.message)))
        except flowrun_plugin.BadInput as error:
            raise Err(types.Failure_BadInput(str(error)))
        except Exception as error:
            # What a person needs to find the line, in the step's log.
            for line in traceback.format_exc().splitlines():
                host.log(host.Level.ERROR, line)
            raise Err(types.Failure_Internal(f"{type(error).__name__}: {error}"))
