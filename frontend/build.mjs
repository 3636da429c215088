// Bundles the classic scripts that pages load. Same sources and lock file, same bytes.
import { readFile, writeFile } from "node:fs/promises";
import { build, transform } from "esbuild";
import { minify } from "terser";

/** Style sheets are imported as minified strings. */
const cssAsText = {
  name: "css-as-text",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const css = await transform(await readFile(path, "utf8"), { loader: "css", minify: true, charset: "utf8" });
      return { contents: css.code, loader: "text" };
    });
  },
};

const folder = process.argv[2] ?? "../mkdocs_attnviz/static";
const banner =
  "/*! mkdocs-attnviz, MIT. Contains Lit, (c) Google LLC, BSD-3-Clause. Generated from frontend/: do not edit. */";

// A page loads one of them: the first where all of its figures show attention, else the second.
for (const [entry, name] of [
  ["main", "attnviz"],
  ["main-all", "attnviz-all"],
]) {
  const { outputFiles } = await build({
    entryPoints: [`src/${entry}.ts`],
    write: false,
    bundle: true,
    format: "iife",
    target: "es2021",
    minify: true,
    legalComments: "none",
    conditions: ["production"],
    plugins: [cssAsText],
    logLevel: "warning",
  });
  // Line breaks before an indentation stand in templates, where one space does as well; others are meant ("\n" in a
  // script is written as one).
  const bundled = outputFiles[0].text.trim().replace(/\n +/g, " ");
  // What esbuild leaves: a further 3% of what readers load.
  const compress = {
    passes: 3,
    unsafe_arrows: true,
    hoist_funs: true,
    inline: 1,
    keep_fargs: false,
    lhs_constants: false,
  };
  const { code } = await minify(bundled, { ecma: 2020, compress, mangle: true });
  await writeFile(`${folder}/${name}.js`, `${banner}\n${code}\n`);
}
