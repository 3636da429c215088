// Bundles src/main.ts into the one classic script that pages load. Same sources and lock file, same bytes.
import { readFile } from "node:fs/promises";
import { build, transform } from "esbuild";

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

await build({
  entryPoints: ["src/main.ts"],
  outfile: process.argv[2] ?? "../mkdocs_attnviz/static/attnviz.js",
  bundle: true,
  format: "iife",
  target: "es2021",
  minify: true,
  legalComments: "none",
  banner: {
    js: "/*! mkdocs-attnviz, MIT. Contains Lit, (c) Google LLC, BSD-3-Clause. Generated from frontend/: do not edit. */",
  },
  conditions: ["production"],
  plugins: [cssAsText],
  logLevel: "warning",
});
