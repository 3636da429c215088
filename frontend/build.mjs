// Bundles src/main.ts into the one classic script that pages load. Same sources and lock file, same bytes.
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

const outfile = process.argv[2] ?? "../mkdocs_attnviz/static/attnviz.js";

const { outputFiles } = await build({
  entryPoints: ["src/main.ts"],
  write: false,
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

// Line breaks before an indentation stand in templates, where one space does as well; others are meant ("\n" in a
// script is written as one). The first is the banner's.
const [banner, ...lines] = outputFiles[0].text.split("\n");
const bundled = lines.join("\n").trim().replace(/\n +/g, " ");
// What esbuild leaves: a further 3 % of what readers load.
const compress = {
  passes: 3,
  unsafe_arrows: true,
  hoist_funs: true,
  inline: 1,
  keep_fargs: false,
  lhs_constants: false,
};
const { code } = await minify(bundled, { ecma: 2020, compress, mangle: true });
await writeFile(outfile, `${banner}\n${code}\n`);
