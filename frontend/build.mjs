// Bundles the classic scripts that pages load, and the modules of widgets. Same sources and lock file, same bytes.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { relative } from "node:path";
import { build, transform } from "esbuild";
import { minify } from "terser";

const folder = process.argv[2] ?? "../mkdocs_attnviz/static";
const generated = "Generated from frontend/: do not edit. */";
const banner = `/*! mkdocs-attnviz, MIT. Contains Lit, (c) Google LLC, BSD-3-Clause. ${generated}`;

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

/**
 * Takes modules that `attnviz-all.js` has from there, by the global `attnviz.shared`, and notes in `used` which they
 * are: the name in `shared` → the path.
 */
function sharing(inAll, used) {
  return {
    name: "sharing",
    setup(bundle) {
      bundle.onResolve({ filter: /^(lit$|\.)/ }, async ({ path, importer, kind, resolveDir, pluginData }) => {
        if (kind === "entry-point" || pluginData === "resolved") return;
        const found = await bundle.resolve(path, { importer, kind, resolveDir, pluginData: "resolved" });
        const module = relative(".", found.path);
        if (!inAll.has(module)) return found;
        const name = path === "lit" ? path : module.replace(/^src\/|\.ts$/g, "");
        used.set(name, path === "lit" ? path : `./${module}`);
        return { path: name, namespace: "shared" };
      });
      bundle.onLoad({ filter: /./, namespace: "shared" }, ({ path }) => ({
        contents: `module.exports = { __esModule: true, ...attnviz.shared[${JSON.stringify(path)}] };`,
      }));
    },
  };
}

/** Bundles a script without writing it. `entry` is a file, or the text of one. */
async function bundled(entry, plugins = [], format = "iife") {
  const source = entry.endsWith(".ts") ? { entryPoints: [entry] } : { stdin: { contents: entry, resolveDir: "." } };
  return build({
    ...source,
    write: false,
    metafile: true,
    bundle: true,
    format,
    ...(format === "iife" && { define: { "import.meta.url": "undefined" } }),
    target: "es2021",
    minify: true,
    legalComments: "none",
    conditions: ["production"],
    plugins: [cssAsText, ...plugins],
    logLevel: "warning",
  });
}

async function write(name, { outputFiles }, frame = (text) => text, options = {}) {
  const { hoist_funs = false, module = false, above = banner } = options;
  // Line breaks before an indentation stand in templates, where one space does as well; others are meant ("\n" in a
  // script is written as one).
  const text = frame(outputFiles[0].text.trim().replace(/\n +/g, " "));
  // What esbuild leaves: a further 3% of what readers load.
  const compress = {
    passes: 3,
    unsafe: true, // what it needs: nobody replaces the browser's own `String`, `Array`, `Error`
    unsafe_arrows: true,
    unsafe_symbols: true,
    hoist_funs, // which makes a script smaller or larger
    inline: 1,
    keep_fargs: false,
    lhs_constants: false,
  };
  const { code } = await minify(text, { ecma: 2020, compress, mangle: true, module });
  await writeFile(`${folder}/${name}.${module ? "mjs" : "js"}`, `${above}\n${code}\n`);
}

/** Returns a script that waits for `attnviz.shared`; instant navigation may run a page's scripts in any order. */
function waiting(script) {
  return `(() => {
    const run = () => {
      if (!globalThis.attnviz?.shared) (globalThis.attnvizWaiting ??= []).push(run);
      else { ${script} }
    };
    run();
  })();`;
}

// A page loads `attnviz.js` if all its figures show attention, else `attnviz-all.js`, followed by the own scripts of the
// views in `views/own/` that it has.
await write("attnviz", await bundled("src/main.ts"));
const inAll = new Set(Object.keys((await bundled("src/main-all.ts")).metafile.inputs));
const used = new Map();
const files = (await readdir("src/views/own")).filter((file) => file.endsWith(".ts")).sort();
for (const file of files) {
  const view = file.replace(".ts", "");
  const entry = `import View from "./src/views/own/${view}.js"; attnviz.define({ ${view}: View });`;
  await write(`attnviz-${view}`, await bundled(entry, [sharing(inAll, used)]), waiting);
}
const shared = [...used].sort(([one], [other]) => (one < other ? -1 : 1));
const imports = shared.map(([, path], number) => `import * as shared${number} from ${JSON.stringify(path)};`);
const names = shared.map(([name], number) => `${JSON.stringify(name)}: shared${number}`);
const sharesModules = `
  import { runWaiting, tools } from "./src/element/public.js";
  ${imports.join("\n")}
  Object.assign(attnviz, Object.assign(tools, { shared: { ${names.join(", ")} } }));
  runWaiting();`;
await write("attnviz-all", await bundled(`import "./src/main-all.js"; ${sharesModules}`), undefined, {
  hoist_funs: true,
});

// Widgets load one module that has all views, by way of a small one that each of them brings.
const views = files.map((file) => file.replace(".ts", ""));
const ownViews = views.map((view) => `import ${view} from "./src/views/own/${view}.js";`);
const module = `
  import { all } from "./src/views/all.js";
  import { widget } from "./src/widget/widget.js";
  ${ownViews.join("\n")}
  export default widget({ ...all, ${views.join(", ")} });`;
await write("attnviz", await bundled(module, [], "esm"), undefined, { module: true });
const above = `/*! mkdocs-attnviz, MIT. ${generated}`;
await write("attnviz-widget", await bundled("src/widget/loader.ts", [], "esm"), undefined, { module: true, above });
