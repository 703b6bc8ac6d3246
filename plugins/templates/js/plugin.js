// {{summary}}

import { BadInput } from "./flowrun.js";

/** Does the step: `config` is its `with`, checked against plugin.yaml; returns its values. */
export function run(config, task) {
  const names = task.readText("names").split("\n").map((line) => line.trim()).filter((line) => line);
  if (names.length === 0) throw new BadInput("no names in the file");
  const greeting = config.greeting ?? "hello";
  task.writeText("greetings", names.map((name) => `${greeting} ${name}\n`).join(""));
  task.info(`${names.length} greeted`);
  return { count: names.length };
}
