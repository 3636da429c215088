// Bundles the classic scripts that pages load, and the modules of widgets. Same sources and lock file, same bytes.
import { writeFile } from "node:fs/promises";
import { transform } from "esbuild";
import { minify } from "terser";
import { allNeeds, bundled, CORE, digest, framed, scripts, views } from "./scripts.mjs";

const folder = process.argv[2] ?? "../mkdocs_attnviz/static";
const generated = "Generated from frontend/: do not edit. */";
const banner = `/*! mkdocs-attnviz, MIT. ${generated}`;
const withLit = `/*! mkdocs-attnviz, MIT. Contains Lit, (c) Google LLC, BSD-3-Clause. ${generated}`;

async function write(file, text, { above = banner, module = false } = {}) {
  const options = { format: module ? "esm" : "iife", target: "es2021", minify: true, legalComments: "none" };
  const { code: short } = await transform(text, options);
  // Line breaks before an indentation stand in templates, where one space does as well; others are meant ("\n" in a
  // script is written as one).
  const flat = short.trim().replace(/\n +/g, " ");
  // What esbuild leaves: a further 3% of what readers load.
  const compress = {
    unsafe: true, // what it needs: nobody replaces the browser's own `String`, `Array`, `Error`
    unsafe_arrows: true,
    unsafe_symbols: true,
    inline: 1,
    keep_fargs: false,
    lhs_constants: false,
  };
  const { code } = await minify(flat, { ecma: 2020, compress, mangle: true, module });
  await writeFile(`${folder}/${file}`, `${above}\n${code}\n`);
}

const fileOf = (name) => (name === CORE ? `${name}.js` : `attnviz-${name}.js`);

// A page loads the scripts of its views, and before them those that they need: `scripts.json` tells which.
const made = await scripts();
const version = digest(made);
for (const each of made)
  await write(fileOf(each.name), framed(each, version), { above: each.name === CORE ? withLit : banner });
const needs = made
  .filter(({ name }) => views.includes(name))
  .map(({ name }) => [fileOf(name), allNeeds(name, made).map(fileOf)]);
await writeFile(`${folder}/scripts.json`, `${JSON.stringify(Object.fromEntries(needs), null, 2)}\n`);

// Widgets load one module that has all views, by way of a small one that each of them brings.
// What is alike lies close together there, views of attention first: that packs best.
const isOther = ({ needs }) => Number(!needs.includes("attention") || needs.includes("panels"));
const inOrder = made
  .filter(({ name }) => views.includes(name))
  .sort((one, other) => isOther(one) - isOther(other) || one.text.length - other.text.length)
  .map(({ name }) => name);
const imports = inOrder.map((view) => `import ${view} from "./src/views/${view}.ts";`);
const module = `
  import { widget } from "./src/widget/widget.ts";
  ${imports.join("\n")}
  export default widget({ ${inOrder.join(", ")} });`;
const text = async (entry) => (await bundled(entry, [], { minify: true })).outputFiles[0].text;
await write("attnviz.mjs", await text(module), { module: true, above: withLit });
await write("attnviz-widget.mjs", await text("src/widget/loader.ts"), { module: true });
