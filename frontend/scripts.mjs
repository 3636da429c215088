// Which module is in which of the scripts that pages load: what all need, what a family of views shares, or one view.
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { relative } from "node:path";
import { build, transform } from "esbuild";

export const CORE = "attnviz";
/** A view belongs to the family whose base class it has. */
const FAMILIES = {
  attention: "src/attention/view.ts",
  panels: "src/controls/panel-view.ts",
};
const MAIN = "src/main.ts";

/** The names of all views: the files in `src/views/`. */
export const views = (await readdir("src/views"))
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.replace(".ts", ""))
  .sort();

/** Imports a style sheet as a minified string. */
const cssAsText = {
  name: "css-as-text",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/, namespace: "file" }, async ({ path }) => {
      const css = await transform(await readFile(path, "utf8"), { loader: "css", minify: true, charset: "utf8" });
      return { contents: css.code, loader: "text" };
    });
  },
};

/** Bundles a module without writing it. `entry` is a file, or the text of one. */
export async function bundled(entry, plugins = [], options = {}) {
  const source = entry.endsWith(".ts") ? { entryPoints: [entry] } : { stdin: { contents: entry, resolveDir: "." } };
  return build({
    ...source,
    write: false,
    metafile: true,
    bundle: true,
    format: "esm",
    target: "es2021",
    minifySyntax: true,
    legalComments: "none",
    conditions: ["production"],
    plugins: [cssAsText, ...plugins],
    logLevel: "warning",
    ...options,
  });
}

const viewOf = (module) => /^src\/views\/([^/]*)\.ts$/.exec(module)?.[1];

/** The modules of which a bundle of this file has anything, without other views that it imports. */
async function modulesOf(file) {
  const plugins = [sharing(new Map(), file)];
  const [{ inputs }] = Object.values((await bundled(file, plugins)).metafile.outputs);
  return new Set(Object.keys(inputs).filter((path) => inputs[path].bytesInOutput > 0));
}

/**
 * Returns which script shares each module with others: the path → `attnviz`, or the name of a family. A module that is
 * not there is in the script of each view that needs it.
 */
async function sharedModules() {
  const needs = new Map();
  for (const view of views) needs.set(view, await modulesOf(`src/views/${view}.ts`));
  const core = await modulesOf(MAIN);
  const families = Object.entries(FAMILIES).map(([name, base]) => [
    name,
    views.filter((view) => needs.get(view).has(base)),
  ]);
  const shared = new Map();
  for (const path of new Set([...core, ...[...needs.values()].flatMap((paths) => [...paths])])) {
    const counts = families.map(([name, members]) => [
      name,
      members.filter((view) => needs.get(view).has(path)).length,
    ]);
    const [attention, panels] = counts.map(([, count]) => count);
    const family = counts.find(([, count]) => count > 1)?.[0];
    const script = core.has(path) || (attention > 1 && panels > 0) ? CORE : family;
    if (script) shared.set(path, script);
  }
  return shared;
}

/** Leaves modules out that another script shares, and views, which have scripts of their own. */
function sharing(shared, script) {
  return {
    name: "sharing",
    setup(bundle) {
      bundle.onResolve({ filter: /^(lit$|\.)/ }, async ({ path, importer, kind, resolveDir, pluginData }) => {
        if (kind === "entry-point" || pluginData === "resolved") return;
        const found = await bundle.resolve(path, { importer, kind, resolveDir, pluginData: "resolved" });
        const module = relative(".", found.path);
        if (viewOf(module) && !importer.endsWith("<stdin>"))
          return { path: `${viewOf(module)}:./${module}`, external: true };
        const from = path === "lit" && shared.size > 0 ? CORE : shared.get(module);
        if (!from || from === script) return; // by esbuild itself, which then knows its tsconfig.json
        return { path: `${from}:${path === "lit" ? path : `./${module}`}`, external: true, sideEffects: false };
      });
    },
  };
}

const IMPORT = /^import (?:(?:(\w+)|\{([^}]*)\}) from )?"(\w+):(.*)";\n/gm;

/** Returns a script's text without its imports of shared modules, and these: script, module, name, and name within. */
function withoutImports(text) {
  const imports = [];
  const body = text.replace(IMPORT, (_, whole, names, script, module) => {
    const pairs = whole ? [["default", whole]] : (names ?? "").split(",").map((each) => each.trim().split(" as "));
    for (const [name, within = name] of pairs) imports.push({ script, module, name, within });
    return "";
  });
  if (/^import /m.test(body)) throw new Error(`this import is read by nothing: ${/^import .*/m.exec(body)[0]}`);
  return { body, imports };
}

/** Bundles the script `name`: its text, in which the names of other scripts are free, and these names. */
async function script(name, entry, shared) {
  const plugins = [sharing(shared, name)];
  const { outputFiles } = await bundled(entry, plugins, { define: { "import.meta.url": "undefined" } });
  return { name, ...withoutImports(outputFiles[0].text) };
}

/** Returns what scripts take from another one, each once, as `module name`. Its place in the list is its number there. */
const takenFrom = (name, made) =>
  [...new Set(made.flatMap(({ imports }) => imports.filter(({ script }) => script === name).map(keyOf)))].sort();

const keyOf = ({ module, name }) => `${module} ${name}`;

/** Bundles all scripts; after those of views, what families share, and what all share. */
async function bundledScripts(shared) {
  const entry = (view) => `import View from "./src/views/${view}.ts"; attnviz.define({ ${view}: View });`;
  const made = await Promise.all(views.map((view) => script(view, entry(view), shared)));
  for (const name of [...Object.keys(FAMILIES), CORE]) {
    const keys = takenFrom(name, made);
    const imports = keys.map((key, at) => key.replace(/(.*) (.*)/, `import { $2 as shared${at} } from "$1";\n`));
    const names = keys.map((_, at) => `shared${at}`);
    const gives =
      name === CORE ? `import { begin } from "./${MAIN}"; begin("${CORE}", [${names}]);` : `own.push(${names});`;
    made.push(await script(name, imports.join("") + gives, shared));
  }
  return made;
}

/** The modules that what several views share takes from a script that it cannot wait for. */
const misplaced = (made) =>
  made
    .filter(({ name }) => !views.includes(name))
    .flatMap(({ imports }) => imports.filter(({ script }) => script !== CORE).map(({ module }) => module.slice(2)));

/** Returns all scripts of pages, each with `needs`, the names of those that it takes something from, and its `text`. */
export async function scripts() {
  const shared = await sharedModules();
  let made = await bundledScripts(shared);
  for (let paths = misplaced(made); paths.length > 0; paths = misplaced(made)) {
    for (const path of paths) shared.set(path, CORE);
    made = await bundledScripts(shared);
  }
  const taken = new Map([...Object.keys(FAMILIES), CORE].map((name) => [name, takenFrom(name, made)]));
  return made.map(({ name, body, imports }) => {
    const needs = [CORE, ...Object.keys(FAMILIES), ...views].filter((from) =>
      imports.some(({ script }) => script === from),
    );
    const takes = needs.map((from) => {
      const own = imports.filter((each) => each.script === from && each.name);
      return `{ ${own.map((each) => `${taken.get(from).indexOf(keyOf(each))}: ${each.within}`).join(", ")} }`;
    });
    return { name, needs, takes, text: body };
  });
}

/** Returns the names of all scripts that a script needs, in an order in which they can run. */
export function allNeeds(name, made) {
  const { needs } = made.find((each) => each.name === name);
  return [...new Set(needs.flatMap((other) => [...allNeeds(other, made), other]))];
}

/** Returns a name for what scripts share that is another one after each change of it. */
export function digest(made) {
  const sharing = made.filter(({ name }) => !views.includes(name)).map(({ text }) => text);
  return `attnviz ${createHash("sha256").update(sharing.join("\0")).digest("hex").slice(0, 8)}`;
}

/** Returns a script as the page gets it: the first one runs the others (`src/element/scripts.ts`). */
export function framed({ name, needs, takes, text }, version) {
  if (name === CORE) return `(() => { const VERSION = "${version}"; ${text} })();`;
  const run = `(${["own", ...takes]}) => { ${text} }`;
  return `(globalThis[Symbol.for("${version}")] ??= []).push(["${name}", ${JSON.stringify(needs)}, ${run}]);`;
}
