// What stands between the component's interface and the plugin's `run(config, task)`. Put in by `flowrun plugin build`.
import host from "flowrun:step/host@1.0.0";
import preopens from "wasi:filesystem/preopens@0.2.0";

import { BadConfig, BadInput, Task } from "./flowrun.js";
import * as plugin from "./plugin.js";

const CHUNK = 1 << 20;
const follow = { symlinkFollow: true };

// The folder that a path begins with, and the rest.
function place(path) {
  for (const [folder, name] of preopens.getDirectories()) {
    if (path === name) return [folder, "."];
    if (path.startsWith(`${name}/`)) return [folder, path.slice(name.length + 1)];
  }
  throw new Error(`${path} is no path of the step`);
}

function open(path, how, rights) {
  const [folder, rest] = place(path);
  try {
    return folder.openAt(follow, rest, how, rights);
  } catch (error) {
    throw new Error(`${path}: ${error}`);
  }
}

const disk = {
  read(path) {
    const file = open(path, {}, { read: true });
    const chunks = [];
    for (let offset = 0, end = false; !end; ) {
      const [bytes, last] = file.read(CHUNK, offset);
      chunks.push(bytes);
      offset += bytes.length;
      end = last || bytes.length === 0;
    }
    const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    chunks.reduce((at, chunk) => (whole.set(chunk, at), at + chunk.length), 0);
    return whole;
  },
  write(path, bytes) {
    const file = open(path, { create: true, truncate: true }, { read: true, write: true });
    for (let offset = 0; offset < bytes.length; ) {
      offset += file.write(bytes.slice(offset, offset + CHUNK), offset);
    }
  },
  list(path) {
    const stream = open(path, { directory: true }, { read: true }).readDirectory();
    const entries = [];
    for (let entry = stream.readDirectoryEntry(); entry; entry = stream.readDirectoryEntry()) {
      entries.push({ name: entry.name, folder: entry.type === "directory" });
    }
    return entries;
  },
  folder(path) {
    const [folder, rest] = place(path);
    try {
      folder.createDirectoryAt(rest);
    } catch (error) {
      if (String(error) !== "exist") throw new Error(`${path}: ${error}`);
    }
  },
};

export function run(request) {
  const paths = (places) => Object.fromEntries(places.map((place) => [place.name, place.path]));
  const part = request.part ? { index: request.part.index, count: request.part.count } : null;
  const task = new Task(paths(request.inputs), paths(request.outputs), part, disk, host);
  let made;
  try {
    made = plugin.run(JSON.parse(request.config), task) ?? {};
  } catch (error) {
    if (error instanceof BadConfig) throw { tag: "bad-config", val: { path: error.path, message: error.message } };
    if (error instanceof BadInput) throw { tag: "bad-input", val: error.message };
    const stack = error instanceof Error ? (error.stack ?? "") : "";
    stack.split("\n").filter((line) => line.trim()).forEach((line) => host.log("error", line));
    throw { tag: "internal", val: String(error) };
  }
  return JSON.stringify(made);
}
