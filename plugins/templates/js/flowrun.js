// What a flowrun plugin in JavaScript needs: the task it is given, and the ways to say what is wrong. Part of your plugin.

/** The step's `with` is wrong at `path`, such as `size.width`; empty for the whole. The pipeline's author must act. */
export class BadConfig extends Error {
  constructor(path, message) {
    super(message);
    this.path = path;
  }
}

/** The data are wrong. Whoever made them must act. */
export class BadInput extends Error {}

/** One step to run: where its inputs lie, where its outputs go, and whom to tell. */
export class Task {
  /** `disk` reads and writes files: read(path), write(path, bytes), list(path) and folder(path). `host` hears of the work. */
  constructor(inputs, outputs, part, disk, host) {
    Object.assign(this, { inputs, outputs, part, disk, host });
  }

  /** The path of an input: an existing file or folder. */
  input(name) {
    if (!(name in this.inputs)) throw new BadConfig("", `the step needs an input \`${name}\`: name it under \`inputs\``);
    return this.inputs[name];
  }

  /** The path of an output: the file to write, or the existing, empty folder to fill. */
  output(name) {
    if (!(name in this.outputs)) throw new BadConfig("", `the step needs an output \`${name}\`: name it under \`outputs\``);
    return this.outputs[name];
  }

  /** The paths of all files below an input folder, sorted, relative to it. */
  files(name) {
    const found = [];
    const walk = (folder, prefix) => {
      for (const entry of this.disk.list(folder)) {
        if (entry.folder) walk(`${folder}/${entry.name}`, `${prefix}${entry.name}/`);
        else found.push(prefix + entry.name);
      }
    };
    walk(this.input(name), "");
    return found.sort((a, b) => compareBytes(encode(a), encode(b)));
  }

  /** The bytes of an input, or of a file below it. */
  readBytes(name, path) {
    return this.disk.read(join(this.input(name), path));
  }

  /** The same as text: UTF-8. */
  readText(name, path) {
    return decode(this.readBytes(name, path));
  }

  /** Writes an output, or a file below it; folders on the way are made. */
  writeBytes(name, bytes, path) {
    const root = this.output(name);
    const parts = (path ?? "").split("/").slice(0, -1);
    parts.forEach((_, index) => this.disk.folder(`${root}/${parts.slice(0, index + 1).join("/")}`));
    this.disk.write(join(root, path), bytes);
  }

  /** The same of a text: UTF-8. */
  writeText(name, text, path) {
    this.writeBytes(name, encode(text), path);
  }

  /** A line of log. */
  info(text) {
    this.host.log("info", String(text));
  }

  /** Something is odd, and the step goes on. */
  warn(text) {
    this.host.log("warn", String(text));
  }

  /** How far the step is: `done` of `total` (0 where it is not known), and of what. */
  progress(done, total, what = "") {
    this.host.progress(done, total, what);
  }

  /** A figure, with the epoch or iteration that it belongs to. */
  metric(name, value, step = null) {
    this.host.metric(name, value, step);
  }
}

function join(root, path) {
  return path === undefined ? root : `${root}/${path}`;
}

function compareBytes(a, b) {
  for (let index = 0; index < a.length && index < b.length; index++) {
    if (a[index] !== b[index]) return a[index] - b[index];
  }
  return a.length - b.length;
}

/** A text as UTF-8. */
export function encode(text) {
  const bytes = [];
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return new Uint8Array(bytes);
}

/** UTF-8 as a text. */
export function decode(bytes) {
  const pieces = [];
  for (let at = 0; at < bytes.length; ) {
    const head = bytes[at];
    const length = head < 0x80 ? 1 : head >= 0xf0 ? 4 : head >= 0xe0 ? 3 : head >= 0xc0 ? 2 : 0;
    if (length === 0 || at + length > bytes.length) throw new BadInput(`byte ${at} is not UTF-8`);
    let code = length === 1 ? head : head & (0x7f >> length);
    for (let next = 1; next < length; next++) {
      if ((bytes[at + next] & 0xc0) !== 0x80) throw new BadInput(`byte ${at + next} is not UTF-8`);
      code = (code << 6) | (bytes[at + next] & 63);
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code < [0, 0, 0x80, 0x800, 0x10000][length]) {
      throw new BadInput(`byte ${at} is not UTF-8`);
    }
    pieces.push(String.fromCodePoint(code));
    at += length;
  }
  return pieces.join("");
}
